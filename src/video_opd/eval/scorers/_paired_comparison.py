"""Two files of answers to the same queries: by how much do their scores differ, and is that more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from video_opd.grounding.figure_by_id import FigureById
from video_opd.grounding.metrics import bootstrap_intervals
from video_opd.sample_size import MIN_QUERIES, describe_shortage

PerQuery = Mapping[str, Mapping[str, float]]
"""Name of a score that is a mean over queries -> example id -> its value there."""


def compare(a: PerQuery, b: PerQuery, *, seed: int = 0, num_resamples: int = 1000) -> dict[str, dict[str, Any]]:
    """The paired bootstrap: queries are drawn with replacement, and each brings its difference `a - b`.

    Args:
        a: what each query is worth under the one file.
        b: the same under the other. Only scores and queries that both have are compared.
        seed: of the draws; every score sees the same ones where the queries are the same.
        num_resamples: at least 1.

    Returns:
        Name of a score -> means `a` and `b` over the common queries, `difference` (a - b), its 95 % percentile
        `interval` (None with fewer than `MIN_QUERIES` queries), and `num_queries`. Unrounded, in the unit of the score.
    """
    compared = {}
    for name, of_a in a.items():
        values = _pair(of_a, b.get(name, {}))
        num_queries = len(values)
        if not num_queries:
            continue
        differences = values[:, :1] - values[:, 1:]
        interval: list[float] | None = None
        if num_queries >= MIN_QUERIES:
            interval = list(*bootstrap_intervals(differences, np.random.default_rng(seed), num_resamples))
        compared[name] = {
            "a": float(values[:, 0].mean()),
            "b": float(values[:, 1].mean()),
            "difference": float(differences.mean()),
            "interval": interval,
            "num_queries": num_queries,
        }
    return compared


def _pair(a: Mapping[str, float], b: Mapping[str, float]) -> np.ndarray:
    """(N, 2) the values of the queries that both have."""
    if isinstance(a, FigureById) and isinstance(b, FigureById) and a.places is b.places:
        return np.stack([a.figures, b.figures], axis=1)
    return np.array([[value, b[id_]] for id_, value in a.items() if id_ in b], dtype=np.float64)


def explain_too_few(differences: Mapping[str, Mapping[str, Any]]) -> str:
    """What the differences that `compare` found cannot say, in a sentence; empty where all have an interval."""
    few = [found["num_queries"] for found in differences.values() if found["interval"] is None]
    return describe_shortage("Whether a difference is more than chance", max(few)) if few else ""
