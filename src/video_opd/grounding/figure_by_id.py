"""A figure of each query, as an array that can be asked by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


class FigureById(Mapping[str, Any]):
    """Id of a query -> its figure, in the order of the queries.

    Args:
        places: id -> place of the query.
        figures: (N,) of the queries, by place.
    """

    def __init__(self, places: Mapping[str, int], figures: np.ndarray) -> None:
        self.places, self.figures = places, figures

    def __getitem__(self, id: str) -> Any:
        return self.figures[self.places[id]].item()

    def __contains__(self, id: object) -> bool:
        return id in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return repr(dict(self))
