"""Test queries on a time axis: frames of the video, the annotated span, and the spans of teacher and student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from video_opd.files.timeline_records import (
    QUERY_KINDS,
    ModelAnswer,
    QueryKind,
    QueryTimeline,
    Timelines,
    TokenJudgement,
)
from video_opd.report.figures import choose_ticks, shorten
from video_opd.report.run.answer_cards import format_spans
from video_opd.report.run.timeline_contents import TimelineContents
from video_opd.report.run.token_chips import Chip, Token, build_chips, build_legend, choose_scale
from video_opd.report.run.video_frames import ShownVideo, VideoFrame
from video_opd.report.visible_text import make_visible
from video_opd.types import Span

_MOST_SPANS = 12
"""Of one answer."""
_HEADINGS: dict[QueryKind, str] = {
    "improved": "Most improved",
    "hurt": "Most hurt",
    "disagreed": "Student and teacher disagree most",
    "random": "Drawn at random",
}
_BEFORE, _AFTER = "student-before", "student-after"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """What one model, or the annotation, says about when."""

    who: str
    track: Markup
    what: str
    text: str = ""
    """The answer in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineCard:
    """A query as it is shown."""

    query: str
    id: str
    duration: float
    frames: tuple[VideoFrame, ...]
    why_no_frames: str
    axis: Markup
    rows: list[TimelineRow]
    link: str
    video: str
    chips: list[Chip]
    note: str
    """What must be said about the tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineGroup:
    """The queries of one kind."""

    heading: str
    note: str
    cards: list[TimelineCard]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSection:
    """All queries that are shown."""

    groups: list[TimelineGroup]
    legend: list[tuple[str, str]]
    why_not: str
    has_player: bool


def build_timelines(contents: TimelineContents, videos: Mapping[str, ShownVideo]) -> TimelineSection | None:
    """Lay out the queries; None where there is nothing to say.

    Args:
        contents: the queries that were chosen.
        videos: what is shown of their videos, by id of the query.
    """
    shown, timelines = contents.list_shown(), contents.timelines
    if not shown and not contents.why_not:
        return None
    scale = choose_scale(list_tokens(each.tokens) for each in shown if each.tokens)
    groups = []
    for kind in QUERY_KINDS:
        cards = [_build_card(each, videos.get(each.id, ShownVideo()), scale) for each in shown if each.kind == kind]
        if cards:
            groups.append(TimelineGroup(heading=_HEADINGS[kind], note=_explain(kind, timelines), cards=cards))
    return TimelineSection(
        groups=groups,
        legend=build_legend(scale),
        why_not=make_visible(contents.why_not),
        has_player=any(card.link for group in groups for card in group.cards),
    )


def _explain(kind: QueryKind, timelines: Timelines) -> str:
    count = f"{timelines.num_queries:,} test queries"
    if kind == "disagreed":
        asked = timelines.num_asked_teacher
        among = count if asked >= timelines.num_queries else f"{asked:,} of {count}, those that the teacher was asked"
        return f"The spans of student and teacher overlap least. Of {among}."
    if kind == "random":
        return f"Drawn with seed {timelines.seed} before any answer was looked at. Those shown above are left out."
    return f"The IoU {'rose' if kind == 'improved' else 'fell'} most from before training to after. Of {count}."


def list_tokens(judgement: TokenJudgement) -> list[Token]:
    """Tokens with their numbers; the advantage is the teacher's log-prob minus the student's."""
    mine, theirs = judgement.student_logprobs, judgement.teacher_logprobs
    pairs = zip(mine, theirs, strict=True) if len(mine) == len(theirs) else ()
    advantages = [None if one is None or other is None else other - one for one, other in pairs]
    logprobs = {
        "log-prob of the sampler": judgement.sampler_logprobs,
        "of the learner": mine,
        "of the teacher": theirs,
        "of the teacher without the video": judgement.blind_logprobs,
    }
    return Token.zip_columns(judgement.texts, advantages, logprobs, judgement.regions)


def _build_card(query: QueryTimeline, video: ShownVideo, scale: float) -> TimelineCard:
    spans = [*query.annotated, *(span for answer in query.answers.values() for span in answer.spans)]
    duration = query.duration or video.duration_s or max((span.end_s for span in spans), default=0.0)
    duration = duration if duration > 0 else 1.0
    start = query.clip.start_s if query.clip else 0.0
    link = video.link

    def draw(spans: Sequence[Span], style: str, who: str) -> Markup:
        return _draw_track(spans, duration, style, who, link, start)

    rows = [
        TimelineRow(
            who="annotated",
            track=draw(query.annotated, "annotated", "annotated"),
            what=format_spans(query.annotated[:_MOST_SPANS]) or "nothing",
        )
    ]
    teachers = [name for name in query.answers if name not in (_BEFORE, _AFTER)]
    named = [(name, name.replace("-", " "), "teacher") for name in teachers[:8]]
    named += [(_BEFORE, "before", "before"), (_AFTER, "after", "student")]
    for name, who, style in named:
        if (answer := query.answers.get(name)) is not None:
            track = draw(answer.spans, style, make_visible(who, 20))
            rows.append(
                TimelineRow(
                    who=make_visible(who, 20), track=track, what=_describe(answer), text=make_visible(answer.text)
                )
            )
    tokens = list_tokens(query.tokens) if query.tokens else []
    return TimelineCard(
        query=make_visible(query.query),
        id=make_visible(query.id, 80),
        duration=duration,
        frames=video.frames,
        why_no_frames=make_visible(video.why_not),
        axis=_draw_axis(duration),
        rows=rows,
        link=link,
        video=make_visible(query.video, 120),
        chips=build_chips(tokens, scale),
        note="This answer was cut off by the length limit." if query.tokens and query.tokens.truncated else "",
    )


def _describe(answer: ModelAnswer) -> str:
    iou = "" if answer.iou is None else f"IoU {answer.iou:.2f}"
    if not answer.spans:
        return f"no span: {make_visible(answer.reason, 80)}" if answer.reason else "no span"
    return ", ".join(filter(None, (format_spans(answer.spans[:_MOST_SPANS]), iou)))


def _draw_track(spans: Sequence[Span], duration: float, style: str, who: str, link: str, start_s: float) -> Markup:
    """Spans on a strip as long as the video. Where the file is at hand, each is a link to this part of it.

    Args:
        spans: in seconds of what is shown.
        duration: of what is shown.
        style: CSS class.
        who: says so.
        link: to the file, or nothing.
        start_s: of what is shown, in seconds of the file.
    """
    parts = []
    for span in spans[:_MOST_SPANS]:
        left, right = (100 * min(max(edge / duration, 0.0), 1.0) for edge in span)
        width = max(right - left, 0.5)  # an empty span is still an answer and must be seen
        bar = Markup('<rect class="{}" x="{:.2f}%" width="{:.2f}%" height="100%" rx="2"/>').format(style, left, width)
        if link and span.end_s >= span.start_s:
            start, end = max(start_s + span.start_s, 0.0), start_s + span.end_s
            label = f"play {who}, {span.start_s:.4g} to {span.end_s:.4g} seconds"
            bar = Markup(
                '<a href="{}#t={:.2f},{:.2f}" data-start="{:.2f}" data-end="{:.2f}" aria-label="{}">{}</a>'
            ).format(link, start, end, start, end, label, bar)
        parts.append(bar)
    label = ", ".join(f"{span.start_s:.4g} to {span.end_s:.4g} s" for span in spans[:_MOST_SPANS]) or "no span"
    role = Markup('role="group"') if link else Markup('role="img"')
    return Markup('<svg class="track" {} aria-label="{}: {}">{}</svg>').format(role, who, label, Markup("").join(parts))


def _draw_axis(duration: float) -> Markup:
    """Seconds under the frames."""
    ticks = [tick for tick in choose_ticks(0.0, duration, 5) if tick <= duration]
    parts = []
    for tick in ticks:
        across = 100 * tick / duration
        style = "start" if tick == 0 else "end" if across > 96 else "mid"
        parts.append(
            Markup('<line x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="4"/><text class="{1}" x="{0:.2f}%" y="16">{2}</text>')
            .format(across, style, shorten(tick))
        )  # fmt: skip
    return Markup('<svg class="axis" aria-hidden="true">{}</svg>').format(Markup("").join(parts))
