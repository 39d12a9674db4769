"""The files of a run folder, one record for each. The writer and the readers of a file use the same record.

metrics.jsonl: StepMetrics   answers.jsonl: SampledAnswer   evaluation/*.json: EvaluationReport
memory.json: MemoryNote   inputs.json: RecordedInputs, in `input_records`
evaluation/timelines.json: Timelines, in `timeline_records`
rounds/*/selection-facts.json: SelectionFacts   rounds/*/selection.jsonl: SelectionRow   *-scores.jsonl: ScoreRow
"""

# ruff: noqa: RUF012 - pydantic gives every record a default of its own
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict

from video_opd.files.written_record import Count, Flag, Number, Pair, Seconds, Text, WrittenRecord
from video_opd.sample_size import MIN_QUERIES

StepPhase = Literal["decode", "read", "answer", "teacher", "score", "backward", "step"]
"""The parts of the time of a step, in the order in which a batch goes through them."""
TEACHER_CHANGE: Literal["teacher change"] = "teacher change"
"""What a teacher that follows the student adds to them: the change, and the measurement of its own answers."""


class StepMetrics(WrittenRecord):
    """One step of training; `train.step_metrics` explains each quantity. Only the step is always given."""

    loss: Number | None = None
    reverse_kl: Number | None = None
    reverse_kl_by_region: dict[str, dict[str, Number]] = {}
    gap_on_annotations: Number | None = None
    gap_on_annotations_by_region: dict[str, dict[str, Number]] = {}
    reward: Number | None = None
    groups_without_spread: Number | None = None
    groups_contradicted: Number | None = None
    cut_share: Number | None = None
    entropy: Number | None = None
    annotation_nll: Number | None = None
    truncated_share: Number | None = None
    output_format_rate: Number | None = None
    miou: Number | None = None
    distinct_answers: Number | None = None
    teacher_view_miou: Number | None = None
    """The mIoU of the teacher's own answers in its view, where that is measured."""
    sampler_learner_gap: Number | None = None
    clamped_share: Number | None = None
    max_ratio: Number | None = None
    ratio_bounded_share: Number | None = None
    num_answers_masked: Number | None = None
    num_annotated_answers: Number | None = None
    """Answers that the annotation wrote, where the student wrote others of the same batch."""
    grad_norm: Number | None = None
    learning_rate: Number | None = None
    num_prompts: Number | None = None
    num_answers: Number | None = None
    num_answer_tokens: Number | None = None
    mean_answer_tokens: Number | None = None
    mean_own_answer_tokens: Number | None = None
    """Of the answers that the student wrote, where the annotation wrote others of the same batch."""
    mean_prompt_tokens: Number | None = None
    reverse_kl_before: Number | None = None
    reverse_kl_after: Number | None = None
    coupling: dict[str, Number] = {}
    work: dict[str, dict[str, Number]] = {}
    """Model by the part that it plays -> what it did."""
    model_bytes: dict[str, Number] = {}
    extra_memory_bytes: Number | None = None
    seconds_by_phase: dict[str, Number] = {}
    """A `StepPhase` -> its time; and `TEACHER_CHANGE`, where the teacher changes."""
    cpu_seconds_by_phase: dict[str, Number] = {}
    seconds_to_decode: Number | None = None
    step: Count
    seconds: Number | None = None
    """Seconds of training until the end of this step."""
    num_set_aside: Number | None = None
    num_damaged: Number | None = None
    """Prompts of the step with damaged pictures that the decoder painted over; only where there are any."""
    num_retries: Number | None = None
    """Times that the step ran out of memory and was done again."""
    inputs_version: Count | None = None
    """Which inputs the step was trained on, where they changed during the run; see inputs.json."""
    progress_lost: Text | None = None
    """Lines on stderr could not be written, and why; in the first row after that."""

    @property
    def is_broken(self) -> bool:
        """Whether the loss was not a finite number; the file then has null."""
        return "loss" in self.model_fields_set and self.loss is None

    def find_number(self, key: str) -> float | None:
        """The number under a key; a dotted key leads into a table."""
        name, _, rest = key.partition(".")
        value: Any = getattr(self, name)
        for part in rest.split(".") if rest else ():
            value = value.get(part) if isinstance(value, Mapping) else None
        return None if isinstance(value, Mapping) else value


class SampledAnswer(WrittenRecord):
    """One answer that the student wrote while training. The lists of numbers go with `tokens`; nats."""

    step: Count
    id: Text = ""
    query: Text = ""
    video: Text = ""
    duration: Number = 0.0
    """Seconds; 0: unknown."""
    annotated: list[Seconds] = []
    answer: Text = ""
    spans: list[Seconds] = []
    """Empty where the answer names no span; `reason` says why."""
    reason: Text | None = None
    iou: Number | None = None
    truncated: Flag = False
    tokens: list[Text] = []
    sampler_logprobs: list[Number | None] = []
    advantage: list[Number | None] = []
    teacher_logprobs: list[Number | None] = []
    suspended: Flag = False
    """The answer was good enough, so the teacher was not asked and the student was not trained on it."""


class MemoryNote(WrittenRecord):
    """What a run learned when a step ran out of memory; it holds for the rest of the run."""

    micro_batch_size: Count | None = None
    micro_batch_tokens: Count | None = None
    answer_together: Count | None = None
    too_large: dict[str, Text] = {}
    """Example that does not fit by itself -> what the device said."""


class BestConstant(WrittenRecord):
    """The one span that does best as the answer to every query."""

    span: Seconds | None = None
    miou: Number | None = None
    step: Number | None = None


class SideAccuracy(WrittenRecord):
    """How many side questions were answered with the right word."""

    accuracy: Number
    interval: Pair | None = None
    num_questions: Count | None = None

    @property
    def mean(self) -> float:
        """The accuracy, as of an `Estimate`."""
        return self.accuracy

    @property
    def spread(self) -> None:
        """None: one model has no spread over seeds."""
        return None

    @property
    def certain(self) -> tuple[float, float] | None:
        """The interval; None with few questions, where earlier versions wrote one."""
        few = self.num_questions is not None and self.num_questions < MIN_QUERIES
        return None if few else self.interval


class EvaluationReport(WrittenRecord):
    """The scores of one model on a fixed set of queries."""

    # A comparison repeats evaluations that runs of other versions wrote: their keys stay.
    model_config = ConfigDict(extra="allow")

    name: Text = ""
    """`student-before`, `student-after`, `teacher` or of several `teacher-1` …, or `validation-000020`."""
    step: Count | None = None
    split: Text = ""
    model: Text | None = None
    scores: dict[str, Number] = {}
    """By metric, each from 0 to 1; and `num_queries`."""
    intervals: dict[str, Pair] = {}
    convention: dict[str, Any] = {}
    """How the numbers were computed, in the evaluator's words."""
    missing: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    best_constant: BestConstant | None = None
    set_aside: dict[str, Text] = {}
    """Example id -> why it could not be asked."""
    damaged_videos: dict[str, Count] = {}
    """Video -> damaged pictures of it that the decoder painted over; they were used."""
    warnings: list[Text] = []
    likely_unit: dict[str, Any] | None = None
    side_questions: SideAccuracy | None = None

    @property
    def is_evaluation(self) -> bool:
        """Whether it has the mIoU, which every evaluation has."""
        return "miou" in self.scores

    @property
    def miou(self) -> float:
        """Mean temporal IoU, 0 to 1."""
        return self.scores["miou"]

    @property
    def num_queries(self) -> int | None:
        """Number of queries that were asked."""
        return int(self.scores["num_queries"]) if "num_queries" in self.scores else None

    @property
    def is_small(self) -> bool:
        """Whether there are too few queries for a verdict."""
        return self.num_queries is not None and self.num_queries < MIN_QUERIES

    def interval(self, metric: str) -> tuple[float, float] | None:
        """The 95 % interval of a score; None with few queries, where earlier versions wrote one."""
        return None if self.is_small else self.intervals.get(metric)

    @property
    def constant_miou(self) -> float | None:
        """Mean IoU of the best constant answer."""
        return self.best_constant.miou if self.best_constant else None


class ExamplesProfile(WrittenRecord):
    """The properties of a set of examples: means, and the share of the examples from each source."""

    num_examples: Count | None = None
    start_s: Number | None = None
    start_share: Number | None = None
    length_s: Number | None = None
    duration_s: Number | None = None
    sources: dict[str, Number] = {}

    @property
    def is_empty(self) -> bool:
        """Whether it has no values."""
        means = (self.start_s, self.start_share, self.length_s, self.duration_s)
        return not self.sources and all(mean is None for mean in means)


class ScoringCost(WrittenRecord):
    """The cost of scoring one model for a selection."""

    seconds: Number = 0.0
    cpu_seconds: Number = 0.0
    num_scored: Count | None = None


class SelectionFacts(WrittenRecord):
    """Facts about the selection of one round."""

    round: Count | None = None
    first_step: Count | None = None
    """Steps taken when the round began."""
    of: dict[str, Any] = {}
    """The scores used for the selection, besides the student's."""
    num_pool: Count | None = None
    num_unscored: Count | None = None
    num_passing: Count | None = None
    num_kept: Count | None = None
    kinds: dict[str, Count] = {}
    """How many of the kept ones are `anchor`, `frontier`, where the curriculum tells them apart."""
    pool: ExamplesProfile = ExamplesProfile()
    kept: ExamplesProfile = ExamplesProfile()
    reliability_of_teacher: Number | None = None
    reliability_of_student: Number | None = None
    mean_gap_of_kept: Number | None = None
    reliability_of_ranking: Number | None = None
    ranked_by: Text | None = None
    warnings: list[Text] = []
    cost: dict[str, ScoringCost] = {}
    """The models whose scores were used."""


class SelectionRow(WrittenRecord):
    """The decision about one example."""

    id: Text = ""
    tau: Number | None = None
    """The teacher's mean IoU with the annotation."""
    sigma: Number | None = None
    """The student's."""
    delta: Number | None = None
    kept: Flag = False
    order: Count | None = None
    kind: Text = ""
    why: Text = ""


class ScoreHead(WrittenRecord):
    """The first line of a file of scores, under `scores`."""

    format: Count | None = None
    model: Text = ""
    model_sha256: Text = ""
    manifest_sha256: Text = ""
    settings: dict[str, Any] = {}
    num_examples: Count | None = None
    shard: tuple[Count, Count] = (0, 1)


class ScoreRow(WrittenRecord):
    """The answers of one model to one example."""

    id: Text = ""
    mean_iou: Number | None = None
    agreement: Number | None = None
    reverse_kl: Number | None = None
    reverse_kl_per_token: Number | None = None
    answers: list[dict[str, Any]] = []
    unscored: Text = ""
    spans: list[Seconds] = []
    duration: Number | None = None
    source: Text = ""
    seconds: Number = 0.0
    cpu_seconds: Number = 0.0
