"""From how many queries an interval, and so a verdict, can be had at all."""

from __future__ import annotations

MIN_QUERIES = 30
"""With fewer queries (questions, videos: whatever is drawn) nothing here gives a 95 % interval or says who is better.

A bootstrap of few queries is too narrow: of one query it has no width, and says that everything is sure. Simulated: how
often the interval of 3,000 samples covered the truth, of a mean IoU with 30 or 60 % of misses, of a rate of 0.5, of one
of 0.1, and of a paired difference of mean IoUs; it should be 0.95.

    queries          1     3     5     10    20    30    50    100
    mean IoU         0    .70   .81   .88   .93   .93   .94   .94
    rate of 0.5      0    .76   .94   .92   .92   .94   .94   .94
    rate of 0.1      0    .26   .41   .62   .86   .94   .94   .94
    difference       0    .62   .76   .86   .92   .93   .93   .94

From 30 on all of them are within 0.02 of what they claim. A difference in which one query in seven changes needs more:
it has 0.88 at 30 and 0.93 at 100.
"""

MIN_AGREEING = 5
"""Examples below which nothing shows even if all of them agree: a sign test of n equal signs has p = 1 / 2^n, and the
first below 0.05 is n = 5. For a look at a few examples that claims no size, such as `doctor`'s."""


SIDE_QUESTIONS = "side question", "side questions"


def cannot_be_said(what: str, count: int, one: str = "query", many: str = "queries") -> str:
    """That `count` queries are too few, and how many are needed: a sentence.

    Args:
        what: the question, to begin a sentence with: "Whether the student improved".
        count: how many queries there are.
        one: what is counted.
        many: its plural.
    """
    return (
        f"{what} cannot be said from {count_of(count, one, many)}: a 95 % interval needs at least {MIN_QUERIES} {many}."
    )


def count_of(count: int, one: str = "query", many: str = "queries") -> str:
    """1 query, 2 queries."""
    return f"{count:,} {one if count == 1 else many}"
