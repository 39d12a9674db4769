"""How many questions the tiny world asks, as a recipe or a command line says it."""

from __future__ import annotations

from typing import Annotated

from video_opd.settings import Flagged, Positive, Settings


class WorldSizes(Settings):
    """Questions of every split. Those for training are 60 steps of 16."""

    num_train: Annotated[Positive, Flagged("train")] = 960
    """Training queries."""
    num_validation: Annotated[Positive, Flagged("validation")] = 96
    """Validation queries, annotated exactly."""
    num_test: Annotated[Positive, Flagged("test")] = 400
    """Test queries, annotated exactly."""

    def map_to_splits(self) -> dict[str, int]:
        """Split -> how many."""
        return {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}
