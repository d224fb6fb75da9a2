"""Compare the answers of two models about the same photos."""

from collections.abc import Sequence

from scipy.stats import binomtest


def mcnemar(first: str, second: str) -> tuple[int, int, float]:
    """Return how many photos only the first names rightly, how many only the second, and McNemar's exact p-value.

    Both are strings of "0" and "1" per photo. The p-value is two-sided: how probable a split of the discordant photos
    as uneven as this is where each falls to either model with probability 1/2.
    """
    pairs = list(zip(first, second, strict=True))
    first_only, second_only = pairs.count(("1", "0")), pairs.count(("0", "1"))
    discordant = first_only + second_only
    return first_only, second_only, float(binomtest(first_only, discordant).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number, so that the chance of any false finding is kept (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
