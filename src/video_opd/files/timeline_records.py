"""`evaluation/timelines.json` of a run folder: some test queries before, after and by the teacher, token by token.

{"format": 1, "seed": 0, "num_queries": 400, "num_asked_teacher": 400, "sample": ["q7", …],
 "queries": [{"id": "q7", "kind": "improved", "query": …, "video": "a.mp4", "duration": 12.0,
  "annotated": [[2.0, 4.5]], "answers": {"student-before": {"text": …, "spans": [[6.0, 9.0]], "iou": 0.1}, …},
  "tokens": {"texts": ["The", …], "regions": ["format", …], "student_logprobs": [-0.01, …], …}}, …]}
"""

# ruff: noqa: RUF012 - pydantic gives every record a default of its own
from __future__ import annotations

from typing import Literal, get_args

from video_opd.files.written_record import Count, Flag, Number, Seconds, Text, WrittenRecord

FORMAT = 1
TIMELINES_FILE = "timelines.json"
"""In the folder `evaluation/` of a run."""

QueryKind = Literal["improved", "hurt", "disagreed", "random"]
"""Why a query is shown: the answer to it became much better or much worse, it is far from the teacher's, or chance."""
QUERY_KINDS: tuple[QueryKind, ...] = get_args(QueryKind)
NUM_SHOWN = 4
"""Queries of each kind."""


class ModelAnswer(WrittenRecord):
    """The answer of one model to a query."""

    text: Text = ""
    spans: list[Seconds] = []
    """Empty where the answer names no span; `reason` says why."""
    reason: Text | None = None
    iou: Number | None = None
    """Of the first span with the best-matching annotated one."""


class TokenJudgement(WrittenRecord):
    """The student's greedy answer after training, token by token. The lists go with `texts`; nats."""

    texts: list[Text] = []
    regions: list[Text] = []
    """A `grounding.regions.Region` each."""
    truncated: Flag = False
    sampler_logprobs: list[Number | None] = []
    """By the student, as it wrote the answer."""
    student_logprobs: list[Number | None] = []
    """By the student, as it is scored for an update."""
    teacher_logprobs: list[Number | None] = []
    """By the teacher as it judges in training; empty without one."""
    blind_logprobs: list[Number | None] = []
    """By the same teacher with grey in place of every frame."""


class QueryTimeline(WrittenRecord):
    """One test query with the answers to it."""

    id: Text
    kind: Text = ""
    """A `QueryKind`; empty: the query is only one of the sample."""
    query: Text = ""
    video: Text = ""
    duration: Number = 0.0
    """Seconds of what is shown of the video; 0: unknown."""
    clip: Seconds | None = None
    """The part of the file that is shown; None: all of it."""
    frame_rate: Number | None = None
    """Pictures per second where the video is a folder of pictures."""
    annotated: list[Seconds] = []
    answers: dict[Text, ModelAnswer] = {}
    """By the name of the evaluation: `student-before`, `student-after`, `teacher` …"""
    tokens: TokenJudgement | None = None
    """None: they were not scored."""


class Timelines(WrittenRecord):
    """The test queries that a report shows."""

    format: Count | None = None
    seed: Count = 0
    """Of the sample."""
    num_queries: Count = 0
    """Test queries that the student answered."""
    num_asked_teacher: Count = 0
    """Those of them that a teacher answered: most disagreements are looked for among these."""
    sample: list[Text] = []
    """Ids that were drawn at random, before any answer was looked at."""
    queries: list[QueryTimeline] = []
