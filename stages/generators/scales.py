"""The sizes of an image pyramid's scales."""

from stages.plumbing.errors import UserError

RATIO = 1.6  # of a scale's side to that of the one before
LEAST_SIDE = 4  # pixels


def sides(size: int, scales: int) -> list[int]:
    """Pixels a side of so many scales, ascending, up to `size`. Raises UserError where the coarsest has too few."""
    found = [round(size / RATIO**step) for step in reversed(range(scales))]
    if found[0] < LEAST_SIDE:
        raise UserError(
            f"scales: {scales} leaves {found[0]} x {found[0]} of {size} x {size} pixels at the coarsest scale, and "
            f"{LEAST_SIDE} x {LEAST_SIDE} are needed: lower it"
        )
    return found
