"""comparison.json: what `compare` found, as one record."""

# ruff: noqa: RUF012 - pydantic gives every record a default of its own
from __future__ import annotations

from video_opd.files.run_records import EvaluationReport, SideAccuracy
from video_opd.files.written_record import Count, Number, Pair, Text, WrittenRecord
from video_opd.sample_size import MIN_QUERIES


class Estimate(WrittenRecord):
    """A mean with its uncertainty."""

    mean: Number
    sd: Number | None = None
    """Over seeds."""
    sd_over_seeds: Number | None = None
    """The same, of scores by query."""
    interval: Pair | None = None
    """Of 95 %."""
    num_queries: Count | None = None
    num_seeds: Count | None = None
    lowest: Number | None = None
    highest: Number | None = None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds."""
        return self.sd if self.sd_over_seeds is None else self.sd_over_seeds

    @property
    def certain(self) -> tuple[float, float] | None:
        """The interval; None with few queries, where earlier versions wrote one."""
        few = self.num_queries is not None and self.num_queries < MIN_QUERIES
        return None if few else self.interval


class MethodPair(WrittenRecord):
    """Two methods by name."""

    one: Text = ""
    other: Text = ""


class Difference(Estimate, MethodPair):
    """The difference of the test mIoUs of two methods."""


class RunPoint(WrittenRecord):
    """The state of one run at one evaluation."""

    step: Number | None = None
    seconds: Number | None = None
    """Seconds of selecting and training until then."""
    cpu_seconds: Number | None = None
    miou: Number | None = None


class CurvePoint(WrittenRecord):
    """The state of a method at one evaluation, over its seeds."""

    step: Number
    seconds: Estimate | None = None
    cpu_seconds: Estimate | None = None
    miou: Estimate


class Ledger(WrittenRecord):
    """The resources that a run used."""

    optimiser_steps: Number | None = None
    examples: Number | None = None
    answer_tokens_learned_from: Number | None = None
    work: dict[str, dict[str, Number]] = {}
    """By model, `student`, `teacher`, `reference`: `prompt_passes`, `answers_written` …"""
    seconds_by_phase: dict[str, Number] = {}
    cpu_seconds_by_phase: dict[str, Number] = {}
    extra_memory_bytes: Number | None = None
    """Largest memory that one update needed in addition to the memory in use before it."""
    model_bytes: Number | None = None
    """Weights of all models that read a prompt."""


class MethodRun(WrittenRecord):
    """One run of a method."""

    seed: Count | None = None
    folder: Text = ""
    curve: list[RunPoint] = []
    scores: dict[str, Number] | None = None
    side_questions: SideAccuracy | None = None
    ledger: Ledger = Ledger()


class MethodResult(WrittenRecord):
    """One method over its seeds."""

    learning_rate: Number | None = None
    runs: list[MethodRun] = []
    curve: list[CurvePoint] = []
    """On the validation queries."""
    ledger: Ledger = Ledger()
    scores: dict[str, Estimate] = {}
    """On the test queries, by metric."""
    side_questions: Estimate | None = None
    to_target: list[RunPoint | None] | None = None
    """Seed -> the first evaluation at the target; None for a seed that never reached it. None without a target."""
    test_miou: Estimate | None = None
    over_its_teacher: Estimate | None = None


class Trial(WrittenRecord):
    """One run of the sweep over learning rates."""

    method: Text = ""
    learning_rate: Number
    seed: Count | None = None
    validation_miou: Number
    side_questions: SideAccuracy | None = None


class Comparison(WrittenRecord):
    """Everything that was found."""

    name: Text = ""
    seeds: list[Count | Text] = []
    device: Text = ""
    num_devices: Count | None = None
    time: Text = "seconds"
    """The clock that training is measured by: `seconds` or `cpu_seconds`."""
    target_miou: Number | None = None
    num_validation_queries: Count | None = None
    data_sha256: Text = ""
    student_before: EvaluationReport | None = None
    """On the test queries."""
    teacher: EvaluationReport | None = None
    sweep: list[Trial] = []
    methods: dict[str, MethodResult] = {}
    differences: list[Difference] = []
    sentences: list[Text] = []
