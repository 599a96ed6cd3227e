"""Which images stand for the many in figures."""

import pandas as pd


def suspicious(decisions: pd.DataFrame, pairs: int) -> pd.DataFrame:
    """The rows to show beside their nearest real image: half dropped, half kept, each half most suspicious first.

    decisions: one row per generated image and filter that judged it, with `id`, `p` (0..1, the smaller the nearer to
    one real image), `distance` to that image, which decides between equal p, and `reason` ('' for what was kept). An
    image that several filters judged is shown once, and as dropped if any dropped it. Where one half has too few, the
    other fills up.
    """
    ranked = decisions.sort_values(["p", "distance", "id"], kind="stable")
    dropped = ranked[ranked["reason"] != ""].drop_duplicates("id")
    kept = ranked[~ranked["id"].isin(dropped["id"])].drop_duplicates("id")
    from_dropped = min(len(dropped), max(pairs // 2, pairs - len(kept)))
    return pd.concat([dropped.head(from_dropped), kept.head(pairs - from_dropped)])


def captions(decisions: pd.DataFrame) -> list[str]:
    """What stands beneath each pair: the p-value, and what became of the image."""
    return [f"p {p:.3f}, {'dropped' if reason else 'kept'}" for p, reason in decisions[["p", "reason"]].to_numpy()]
