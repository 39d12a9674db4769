"""The [curriculum] table of a recipe: which examples are trained on at which step. Its `name` chooses the record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import model_validator

from video_opd.curriculum import CandidateRule, FrontLoadingRule, RaceRule, SelectionRule, Strategy, SuspensionRule
from video_opd.settings import Flag, Flagged, MoreThanZero, NotNegative, OneOf, Positive, Settings, Share


class CurriculumName(Settings):
    """The key by which a curriculum is chosen."""

    name: str
    """Name of the curriculum: which examples are trained on at which step."""


class OrderSettings(Settings):
    """Curricula whose selection has an order."""

    order: Literal["shuffled", "selected"] = "shuffled"
    """`shuffled`: a new random order for each epoch. `selected`: the order of the selection: the order in its file, or
    the largest gap first, or the order of the draws."""


class RoundPlanSettings(CurriculumName):
    """Curricula in rounds."""

    num_rounds: Positive = 1
    """Number of rounds. The steps of the run are divided among them, and the student is scored again before each
    round."""


class ScoringSettings(Settings):
    """Curricula that score the pool first."""

    num_answers: Annotated[Positive, Flagged("answers")] = 4
    """Answers per example for scoring, from one reading: the greedy one and sampled ones. One answer is mostly
    chance."""
    top_k: Literal["sampled", "beam"] = "sampled"
    """`sampled`: the greedy answer and sampled answers. `beam`: the most probable answers with distinct spans."""
    teacher_scores: Path | None = None
    """File of `video-opd score` with the teacher's scores of the training manifest; not set: the run makes them once
    and keeps them in `cache`."""
    cache: Path = Path("runs/scores")
    """Folder of scores that later runs with the same model, manifest and settings use again."""


class WholePoolSettings(SuspensionRule, CurriculumName):
    """Every example of the training manifest, epoch after epoch."""

    name: Literal["whole-pool"] = "whole-pool"
    needs_teacher: ClassVar[bool] = False


class SelectionFileSettings(SuspensionRule, OrderSettings, CurriculumName):
    """The examples of a file written by `video-opd select`."""

    name: Literal["selection"]
    needs_teacher: ClassVar[bool] = False
    file: Path
    """JSON lines with `id` and `kept`, in training order."""


class RoundsSettings(RaceRule, SuspensionRule, OrderSettings, SelectionRule, RoundPlanSettings, ScoringSettings):
    """Rounds of four phases: score the student, select, train, evaluate.

    The record is also the rule that chooses a round's examples, and the rule of the race that scores the pool."""

    name: Literal["rounds"]
    skip_below: Share | None = None
    """A cheap filter by the teacher's greedy answer: if its IoU is lower, no more answers are drawn, and its IoU is the
    teacher's mean IoU. An example is lost if sampled answers would have raised the mean to `threshold`."""
    race_enough: MoreThanZero | None = None
    """Stop scoring once this many times `count` examples passed the filter; not set: never."""
    reuse_answers: Flag = False
    """From the second round on, use the answers written during training as scores of the examples trained on, and score
    only the other examples. This is cheaper, but these scores are older by up to a round."""

    @model_validator(mode="after")
    def _check_parts(self) -> RoundsSettings:
        if self.reliability == "agreement" and self.num_answers < 2:
            raise ValueError("curriculum.reliability = agreement needs curriculum.num_answers of at least 2")
        if self.skip_below is not None and (self.top_k == "beam" or self.skip_below > self.threshold):
            raise ValueError(
                f"curriculum.skip_below = {self.skip_below:g}: where the greedy answer's IoU is lower, it is the only "
                "score, and it must not be enough to pass. Set it to curriculum.threshold or lower, with top_k = "
                "sampled"
            )
        if self.strategy == "gwds" and self.disagreement != "iou":
            raise ValueError("curriculum.strategy = gwds draws around a gap in IoU of 0.9; use disagreement = iou")
        if self.race_enough is not None and self.race_enough < 1:
            raise ValueError(
                f"curriculum.race_enough = {self.race_enough:g} would stop before curriculum.count examples passed; "
                "give 1 or more"
            )
        if self.reliability == "agreement" and self.skip_below is not None:
            raise ValueError(
                "curriculum.skip_below leaves examples with one answer, and reliability = agreement compares several"
            )
        if self.disagreement != "iou" and (self.num_answers < 2 or self.top_k == "beam"):
            raise ValueError(
                f"curriculum.disagreement = {self.disagreement} is measured along sampled answers; use top_k = sampled "
                "and "
                "num_answers of at least 2"
            )
        if self.reuse_answers and self.disagreement != "iou":
            raise ValueError("curriculum.reuse_answers gives only IoUs; use disagreement = iou")
        if self.strategy == "random" and not self.threshold:
            raise ValueError(
                "curriculum.strategy = random without a threshold is the whole pool in a random order; use "
                "curriculum.name = whole-pool"
            )
        if (self.race or self.race_enough is not None) and not self.threshold:
            raise ValueError(
                "curriculum.race needs a threshold; set curriculum.threshold, or leave out curriculum.race"
            )
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher must answer, or must judge the student's answers, before a round."""
        return self.is_teacher_asked or self.is_ranked_by_reverse_kl

    @property
    def is_raced(self) -> bool:
        """Whether the pool may be scored in part."""
        return self.race or self.race_enough is not None

    @property
    def num_enough(self) -> int | None:
        """The number of examples that passed the filter at which the scoring stops; None: it never stops early."""
        return None if self.race_enough is None else round(self.race_enough * self.count)


class TVDFSettings(RoundsSettings):
    """The paper's curriculum: the teacher's filter, then the largest gaps, in rounds (section 3.2, appendix B)."""

    name: Literal["tvdf"]  # type: ignore[assignment]
    num_rounds: Positive = 3
    strategy: Strategy = "top-k"


class CouplingSettings(FrontLoadingRule, SuspensionRule, CandidateRule, CurriculumName, ScoringSettings):
    """Student-curriculum coupling (arXiv 2609.40055): candidates from the first scores, and a gate at every step."""

    name: Literal["scc"]
    suspend_at: NotNegative = 0.7
    needs_teacher: ClassVar[bool] = True

    @model_validator(mode="after")
    def _require_candidates(self) -> CouplingSettings:
        if self.num_anchors + self.num_frontier == 0:
            raise ValueError("curriculum: num_anchors and num_frontier are both 0, so nothing would be trained on")
        if self.num_repeats > self.num_frontier:
            raise ValueError(
                f"curriculum.last_repeats = {self.num_repeats} of curriculum.num_frontier = {self.num_frontier}; "
                "repeat at most as many as there are"
            )
        return self

    @property
    def num_candidates(self) -> int:
        """Anchors and frontier examples."""
        return self.num_anchors + self.num_frontier


CurriculumSettings = WholePoolSettings | SelectionFileSettings | RoundsSettings | TVDFSettings | CouplingSettings
"""The settings of a curriculum."""

CURRICULA: OneOf[CurriculumSettings] = OneOf(
    "a curriculum",
    __package__,
    {
        "whole-pool": WholePoolSettings,
        "selection": SelectionFileSettings,
        "rounds": RoundsSettings,
        "tvdf": TVDFSettings,
        "scc": CouplingSettings,
    },
)
"""Every curriculum by its name in a recipe."""
