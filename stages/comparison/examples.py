"""Which images stand for the many in figures."""

import pandas as pd


def suspicious(decisions: pd.DataFrame, pairs: int) -> pd.DataFrame:
    """The rows to show beside their nearest real image: half dropped, half kept, each half most suspicious first.

    decisions: one row per generated image with `p` (0..1, the smaller the nearer to one real image) and `reason`
    ('' for what was kept). Where one half has too few, the other fills up.
    """
    ranked = decisions.sort_values(["p", "id"], kind="stable")
    dropped, kept = ranked[ranked["reason"] != ""], ranked[ranked["reason"] == ""]
    from_dropped = min(len(dropped), max(pairs // 2, pairs - len(kept)))
    return pd.concat([dropped.head(from_dropped), kept.head(pairs - from_dropped)])


def captions(decisions: pd.DataFrame) -> list[str]:
    """What stands beneath each pair: the p-value, and what became of the image."""
    return [f"p {p:.3f}, {'dropped' if reason else 'kept'}" for p, reason in decisions[["p", "reason"]].to_numpy()]
