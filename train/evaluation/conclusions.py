"""Measure what is said at a level of certainty: how many photos get a name, a group or less, and how many rightly."""

from typing import Any

from scipy.stats import binomtest

from core.recognition.conclusion import Conclusion

ANSWERS = ("name", "group")  # the kind of thing alone is no answer
Said = tuple[Conclusion | None, str]  # what is said of a photo (None: it is refused as unknown), and its true name


def conclusion_shares(said: list[Said]) -> dict[str, Any]:
    """Return, per rank of `Conclusion` and for all answers, the share of photos, and the share of these that is right.

    `low` and `high` are the ends of the 95 % interval (Wilson's) of the latter.
    """
    kinds = {"name": ("name",), "group": ("group",), "answered": ANSWERS, "kind": ("kind",)}
    rows = {
        row: _row([c.covers(truth) for c, truth in said if c and c.rank in ranks], len(said))
        for row, ranks in kinds.items()
    }
    less = {
        "nothing": sum(c is not None and c.rank == "nothing" for c, _ in said) / len(said),
        "unknown": sum(c is None for c, _ in said) / len(said),
    }
    return {"photos": len(said), **rows, **{rank: {"share": round(share, 4)} for rank, share in less.items()}}


def _row(right: list[bool], photos: int) -> dict[str, float]:
    row = {"share": round(len(right) / photos, 4)}
    if right:
        interval = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
        shares = {"right": sum(right) / len(right), "low": interval.low, "high": interval.high}
        row |= {key: round(float(share), 4) for key, share in shares.items()}
    return row


def conclusions_text(shares: dict[str, Any]) -> str:
    """Return the shares as a Markdown table, in per cent."""
    lines = ["| said of the photo | share of photos | right | 95 % interval |", "|---|---:|---:|---:|"]
    for rank, label in (
        ("name", "the name"),
        ("group", "its group"),
        ("answered", "name or group"),
        ("kind", "the kind alone"),
        ("nothing", "nothing is sure"),
        ("unknown", "refused as unknown"),
    ):
        row = shares[rank]
        right = (
            f"{100 * row['right']:.1f} | {100 * row['low']:.1f} to {100 * row['high']:.1f}" if "right" in row else "|"
        )
        lines.append(f"| {label} | {100 * row['share']:.1f} | {right} |")
    return "\n".join(lines)
