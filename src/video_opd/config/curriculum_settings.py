"""The [curriculum] table of a recipe: what is trained on when; told apart by `name`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from video_opd.curriculum import CandidateRule, Difficulty, Disagreement, Reliability, SelectionRule, Strategy
from video_opd.settings import Count, Flag, MoreThanZero, NotNegative, OneOf, Positive, Settings, Share


class WholePoolSettings(Settings):
    """Every example of the training manifest, epoch after epoch."""

    name: Literal["whole-pool"] = "whole-pool"
    """What is trained on when."""
    suspend_at: NotNegative | None = None
    """An example whose sampled answer has at least this IoU is neither scored by the teacher nor trained on at that
    step (the gate of student-curriculum coupling); not set: every one is trained on."""
    asks_teacher: ClassVar[bool] = False


class SelectionFileSettings(Settings):
    """The examples of a file written by `video-opd select`."""

    name: Literal["selection"]
    """What is trained on when."""
    file: Path
    """JSON lines with `id` and `kept`, in training order."""
    order: Literal["shuffled", "selected"] = "shuffled"
    """`shuffled`: each epoch in a random order of its own. `selected`: in the order of the file."""
    suspend_at: NotNegative | None = None
    """An example whose sampled answer has at least this IoU is neither scored by the teacher nor trained on at that
    step; not set: every one is trained on."""
    asks_teacher: ClassVar[bool] = False


class ScoringSettings(Settings):
    """Curricula that score the pool first."""

    num_answers: Positive = 4
    """Answers by which an example is judged, from one reading: the greedy one, and draws. One alone is mostly luck."""
    top_k: Literal["sampled", "beam"] = "sampled"
    """`beam`: instead the most probable answers with distinct spans."""
    teacher_scores: Path | None = None
    """File of `video-opd score` with the teacher's scores of the training manifest; not set: they are made once and
    kept in `cache`."""
    cache: Path = Path("runs/scores")
    """Folder of scores that later runs with the same model, manifest and settings take over."""


class RoundsSettings(ScoringSettings):
    """Score the student, select, train, evaluate; and again."""

    name: Literal["rounds"]
    """What is trained on when."""
    num_rounds: Positive = 1
    """The steps of the run are shared out over as many rounds; the student is scored again before each."""
    count: Positive
    """Examples selected a round; with training.steps not set, a round is one epoch over them."""
    strategy: Strategy = "random"
    """How they are chosen among those the teacher can be trusted on (docs/CURRICULUM.md has what each gave)."""
    threshold: Share = 0.7
    """Examples whose reliability is lower are left out; 0: none are."""
    reliability: Reliability = "annotation"
    """What is held against the threshold: the teacher's mean IoU with the annotation, or its answers' agreement with
    one another, which reads no annotation."""
    disagreement: Disagreement = "iou"
    """What a ranking ranks by: the gap in IoU, or the reverse KL along the student's answers, summed or per token."""
    difficulty_mean: Share = 0.3
    """Of strategy `difficulty`: the student's IoU that is drawn most (the paper's eqs. 30-31)."""
    difficulty_std: MoreThanZero = 0.2
    """Its spread."""
    density_corrected: Flag = False
    """Of strategy `difficulty`: weights divided by how many examples have such an IoU, as TimeLens draws."""
    order: Literal["shuffled", "selected"] = "shuffled"
    """`shuffled`: each epoch in a random order of its own. `selected`: largest gap first, or as drawn."""
    suspend_at: NotNegative | None = None
    """An example whose sampled answer has at least this IoU is neither scored by the teacher nor trained on at that
    step; not set: every one is trained on."""
    skip_below: Share | None = None
    """The teacher's greedy answer as a cheap filter first: where its IoU is lower, no further answers are drawn, and it
    alone is the teacher's mean IoU. An example whose draws would have lifted the mean to `threshold` is lost."""
    race: Flag = False
    """Score a random part of every source first, and no more of a source that yields nothing."""
    race_pilot: Positive = 40
    """Examples of a source that are scored between two looks. With fewer than 36 the first look cannot be sure of less
    than a tenth, even where none passes."""
    race_min_yield: Share = 0.1
    """A source is given up when surely fewer of its examples pass the filter. At most one in twenty sources of which
    just as many or more pass is given up by bad luck, all looks at it taken together."""
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
    def asks_teacher(self) -> bool:
        """Whether a teacher has to answer, or to judge the student's answers, before a round."""
        return self.rule().asks_teacher or self.rule().ranks_by_reverse_kl

    def rule(self) -> SelectionRule:
        """How a round's examples are chosen."""
        return SelectionRule(
            strategy=self.strategy,
            count=self.count,
            threshold=self.threshold or None,
            reliability=self.reliability,
            disagreement=self.disagreement,
            difficulty=Difficulty(
                mean=self.difficulty_mean, std=self.difficulty_std, density_corrected=self.density_corrected
            ),
        )


class TVDFSettings(RoundsSettings):
    """The paper's curriculum: the teacher's filter, then the largest gaps, in rounds (section 3.2, appendix B)."""

    name: Literal["tvdf"]  # type: ignore[assignment]
    """What is trained on when."""
    num_rounds: Positive = 3
    """The steps of the run are shared out over as many rounds; the student is scored again before each."""
    strategy: Strategy = "top-k"
    """How examples are chosen among those the teacher can be trusted on; the paper's is top-k."""


class CouplingSettings(ScoringSettings):
    """Student-curriculum coupling (arXiv 2609.40055): candidates from the first scores, and a gate at every step."""

    name: Literal["scc"]
    """What is trained on when."""
    num_anchors: Count = 100
    """Candidates that the untrained student gets right."""
    num_frontier: Count = 900
    """Candidates that it gets wrong."""
    teacher_threshold: Share = 0.7
    """Least IoU of the teacher on a candidate."""
    anchor_threshold: Share = 0.7
    """Least IoU of the student on an anchor."""
    frontier_threshold: Share = 0.3
    """The student's IoU on a frontier example is lower."""
    suspend_at: NotNegative = 0.7
    """An example whose sampled answer has at least this IoU is suspended: no teacher, no gradient. Above 1: none is."""
    asks_teacher: ClassVar[bool] = True

    @model_validator(mode="after")
    def _somebody(self) -> CouplingSettings:
        if self.num_anchors + self.num_frontier == 0:
            raise ValueError("curriculum: num_anchors and num_frontier are both 0, so nothing would be trained on")
        if self.frontier_threshold > self.anchor_threshold:
            raise ValueError(
                f"curriculum.frontier_threshold = {self.frontier_threshold:g} is above anchor_threshold = "
                f"{self.anchor_threshold:g}, so an example could be both"
            )
        return self

    def rule(self) -> CandidateRule:
        """Who is a candidate."""
        return CandidateRule(
            teacher_threshold=self.teacher_threshold,
            anchor_threshold=self.anchor_threshold,
            frontier_threshold=self.frontier_threshold,
            num_anchors=self.num_anchors,
            num_frontier=self.num_frontier,
        )


CurriculumSettings = WholePoolSettings | SelectionFileSettings | RoundsSettings | TVDFSettings | CouplingSettings
"""Who reads this table knows what is trained on when."""

CURRICULA: OneOf[CurriculumSettings] = OneOf(
    {
        "whole-pool": WholePoolSettings,
        "selection": SelectionFileSettings,
        "rounds": RoundsSettings,
        "tvdf": TVDFSettings,
        "scc": CouplingSettings,
    }
)
"""Every curriculum by its name in a recipe."""
