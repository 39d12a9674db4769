"""The smallest number of queries for which intervals and verdicts are given."""

from __future__ import annotations

MIN_QUERIES = 30
"""With fewer queries (or questions, or videos), this package gives no 95 % interval and does not say which is better.

A bootstrap interval of few queries is too narrow: with one query its width is 0. The table shows how often the interval
covered the true value in 3,000 simulated samples; it should be 0.95. The rows are a mean IoU with 30 or 60 % of misses,
a rate of 0.5, a rate of 0.1, and a paired difference of mean IoUs.

    queries          1     3     5     10    20    30    50    100
    mean IoU         0    .70   .81   .88   .93   .93   .94   .94
    rate of 0.5      0    .76   .94   .92   .92   .94   .94   .94
    rate of 0.1      0    .26   .41   .62   .86   .94   .94   .94
    difference       0    .62   .76   .86   .92   .93   .93   .94

From 30 queries on, all are within 0.02 of 0.95. A difference in which only one query in seven changes needs more
queries: it has 0.88 at 30 and 0.93 at 100.
"""

MIN_AGREEING = 5
"""With fewer examples nothing is significant, even if all agree: a sign test of n equal signs has p = 1 / 2^n, and the
first p below 0.05 is at n = 5. Used by `doctor`, which looks at a few examples and gives no size of an effect."""


SIDE_QUESTIONS = "side question", "side questions"


def describe_shortage(what: str, count: int, one: str = "query", many: str = "queries") -> str:
    """Make a sentence that says that `count` queries are too few, and how many are needed.

    Args:
        what: the question, as the beginning of the sentence: "Whether the student improved".
        count: the number of queries.
        one: the word for one query.
        many: its plural.
    """
    return (
        f"{what} cannot be said from {count_of(count, one, many)}: a 95 % interval needs at least {MIN_QUERIES} {many}."
    )


def count_of(count: int, one: str = "query", many: str = "queries") -> str:
    """Write a number with its noun: "1 query", "2 queries"."""
    return f"{count:,} {one if count == 1 else many}"
