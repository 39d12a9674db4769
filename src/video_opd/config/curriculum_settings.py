"""The [curriculum] table of a recipe: what is trained on when; told apart by `name`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import model_validator

from video_opd.curriculum import CandidateRule, RaceRule, SelectionRule, Strategy, SuspensionRule
from video_opd.settings import Flag, Flagged, MoreThanZero, NotNegative, OneOf, Positive, Settings, Share


class CurriculumName(Settings):
    """A curriculum is told by its name."""

    name: str
    """What is trained on when."""


class OrderSettings(Settings):
    """Curricula whose selection has an order."""

    order: Literal["shuffled", "selected"] = "shuffled"
    """`shuffled`: each epoch in a random order of its own. `selected`: in the order of the selection: of its file, or
    largest gap first, or as drawn."""


class RoundPlanSettings(CurriculumName):
    """Curricula in rounds."""

    num_rounds: Positive = 1
    """The steps of the run are shared out over as many rounds; the student is scored again before each."""


class ScoringSettings(Settings):
    """Curricula that score the pool first."""

    num_answers: Annotated[Positive, Flagged("answers")] = 4
    """Answers by which an example is judged, from one reading: the greedy one, and draws. One alone is mostly luck."""
    top_k: Literal["sampled", "beam"] = "sampled"
    """`sampled`: the greedy answer and draws. `beam`: instead the most probable answers with distinct spans."""
    teacher_scores: Path | None = None
    """File of `video-opd score` with the teacher's scores of the training manifest; not set: they are made once and
    kept in `cache`."""
    cache: Path = Path("runs/scores")
    """Folder of scores that later runs with the same model, manifest and settings take over."""


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
    """Score the student, select, train, evaluate; and again. It is the rule by which a round's examples are chosen, and
    the rule of the race by which the pool is scored."""

    name: Literal["rounds"]
    skip_below: Share | None = None
    """The teacher's greedy answer as a cheap filter first: where its IoU is lower, no further answers are drawn, and it
    alone is the teacher's mean IoU. An example whose draws would have lifted the mean to `threshold` is lost."""
    race_enough: MoreThanZero | None = None
    """Stop scoring once this many times `count` examples passed the filter; not set: never."""
    reuse_answers: Flag = False
    """From the second round on, take the answers written while training as scores of the examples trained on, and score
    only the others anew: cheaper, and older by up to a round."""

    @model_validator(mode="after")
    def _parts_fit(self) -> RoundsSettings:
        if self.reliability == "agreement" and self.num_answers < 2:
            raise ValueError("curriculum.reliability = agreement needs curriculum.num_answers of at least 2")
        if self.skip_below is not None and (self.top_k == "beam" or self.skip_below > self.threshold):
            raise ValueError(
                f"curriculum.skip_below = {self.skip_below:g}: where the greedy answer's IoU is lower, only it counts, "
                "and must not be enough to pass. Set it to curriculum.threshold or lower, with top_k = sampled"
            )
        if self.strategy == "gwds" and self.disagreement != "iou":
            raise ValueError("curriculum.strategy = gwds draws around a gap in IoU of 0.9; use disagreement = iou")
        if self.race_enough is not None and self.race_enough < 1:
            raise ValueError(
                f"curriculum.race_enough = {self.race_enough:g} would leave fewer than count; give 1 or more"
            )
        if self.reliability == "agreement" and self.skip_below is not None:
            raise ValueError(
                "curriculum.skip_below leaves examples with one answer, and reliability = agreement compares several"
            )
        if self.disagreement != "iou" and (self.num_answers < 2 or self.top_k == "beam"):
            raise ValueError(
                f"curriculum.disagreement = {self.disagreement} is taken along drawn answers; use top_k = sampled and "
                "num_answers of at least 2"
            )
        if self.reuse_answers and self.disagreement != "iou":
            raise ValueError("curriculum.reuse_answers has IoUs only; use disagreement = iou")
        if self.strategy == "random" and not self.threshold:
            raise ValueError(
                "curriculum.strategy = random without a threshold is the whole pool in a random order; use "
                "curriculum.name = whole-pool"
            )
        if (self.race or self.race_enough is not None) and not self.threshold:
            raise ValueError("curriculum.race asks which examples pass the threshold, and there is none")
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher has to answer, or to judge the student's answers, before a round."""
        return self.asks_teacher or self.ranks_by_reverse_kl

    @property
    def races(self) -> bool:
        """Whether the pool may be scored in part."""
        return self.race or self.race_enough is not None

    @property
    def num_enough(self) -> int | None:
        """How many examples that passed the filter end the scoring; None: no number does."""
        return None if self.race_enough is None else round(self.race_enough * self.count)


class TVDFSettings(RoundsSettings):
    """The paper's curriculum: the teacher's filter, then the largest gaps, in rounds (section 3.2, appendix B)."""

    name: Literal["tvdf"]  # type: ignore[assignment]
    num_rounds: Positive = 3
    strategy: Strategy = "top-k"


class CouplingSettings(SuspensionRule, CandidateRule, CurriculumName, ScoringSettings):
    """Student-curriculum coupling (arXiv 2609.40055): candidates from the first scores, and a gate at every step."""

    name: Literal["scc"]
    suspend_at: NotNegative = 0.7
    needs_teacher: ClassVar[bool] = True

    @model_validator(mode="after")
    def _has_candidates(self) -> CouplingSettings:
        if self.num_anchors + self.num_frontier == 0:
            raise ValueError("curriculum: num_anchors and num_frontier are both 0, so nothing would be trained on")
        return self


CurriculumSettings = WholePoolSettings | SelectionFileSettings | RoundsSettings | TVDFSettings | CouplingSettings
"""Who reads this table knows what is trained on when."""

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
