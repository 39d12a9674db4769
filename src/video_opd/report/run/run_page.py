"""From a run folder to `report.html`: what is said, in which order. `template.html.j2` and `style.css` say how."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from video_opd.report import figures
from video_opd.report.curves import Series, draw_curves
from video_opd.report.figures import Figure
from video_opd.report.page import fill, read_script, refuse_foreign_page, write_page
from video_opd.report.phases import sum_time_by_phase
from video_opd.report.run import answer_cards as examples
from video_opd.report.run import curriculum_section as curriculum_section
from video_opd.report.run import verdict
from video_opd.report.run.advantage_section import build_advantages, list_keys
from video_opd.report.run.run_checks import make_checks
from video_opd.report.run.run_contents import RunContents, read_run
from video_opd.report.run.standing_figure import draw_standing
from video_opd.report.run.timeline_cards import build_timelines
from video_opd.report.run.token_chips import build_legend
from video_opd.report.run.video_frames import ShownVideo, show_videos
from video_opd.report.run.vital_signs import draw_vital_signs, write_first_and_last
from video_opd.runs import RunDirectory
from video_opd.sample_size import count_of

_NOT_LOOKED_AT = "No frames: the watch was stopped before they were looked at. `video-opd report` shows them."
_MAX_PROBES = 60
"""As many as can be told apart in one picture."""


def write_report(
    run: Path,
    videos: Path | None = None,
    page: Path | None = None,
    refresh_s: int | None = None,
    *,
    with_frames: bool = True,
) -> Path:
    """Write `report.html` into a run folder, from what lies in it, and from the test videos where they are at hand.

    The page is one file that loads nothing from the network. The same folder and the same videos give the same page. It
    can be written at any time, also while the run is under way.

    Args:
        run: the folder.
        videos: the folder of the test videos, where it is not the one that the run had.
        page: another place for the page.
        refresh_s: seconds after which a browser loads the page again, while the run goes on; None: never.
        with_frames: look at the test videos, which may take a minute.

    Returns:
        The page.

    Raises:
        ConfigurationError: the folder holds no run.
        OSError: the page cannot be written.
    """
    page = page or RunDirectory(run).report
    refuse_foreign_page(page)
    contents = read_run(run)
    queries = contents.timelines.list_shown()
    if with_frames:
        shown = show_videos(queries, videos or contents.timelines.videos, page)
    else:
        shown = {each.id: ShownVideo(why_not=_NOT_LOOKED_AT) for each in queries}
    return write_page(page, render(contents, shown, refresh_s))


def render(contents: RunContents, shown: Mapping[str, ShownVideo], refresh_s: int | None = None) -> str:
    """The page as text.

    Args:
        contents: of the run folder.
        shown: what is shown of the test videos, by id of the query.
        refresh_s: as of `write_report`.
    """
    advantages = build_advantages(contents)
    timeline_section = build_timelines(contents.timelines, shown)
    standing = verdict.Standing.sort_evaluations(contents.evaluations)
    phases = sum_time_by_phase(
        contents.rows, elapsed=verdict.measure_elapsed(contents), selecting=contents.curriculum.cost_s
    )
    return fill(
        "template.html.j2",
        contents=contents,
        refresh_s=refresh_s,
        headline=verdict.write_headline(contents, standing),
        remarks=verdict.write_remarks(contents, standing),
        table=verdict.build_score_table(standing),
        facts=list_facts(contents),
        standing=draw_standing(standing),
        checks=make_checks(contents, standing),
        main_figures=[figure for figure in draw_main_figures(contents, standing) if figure],
        small_figures=draw_vital_signs(contents),
        curriculum=curriculum_section.build_section(contents),
        advantages=advantages,
        advantage_keys=list_keys(advantages) if advantages else [],
        phases=phases,
        phase_bar=figures.draw_bar("Where the time went", [(phase.colour, phase.share) for phase in phases]),
        examples=examples.build_cards(contents.examples),
        advantage_legend=build_legend(examples.choose_scale_of(contents.examples)),
        timeline_section=timeline_section,
        script=read_script("player.js") if timeline_section and timeline_section.has_player else None,
        convention=standing.convention,
    )


def list_facts(contents: RunContents) -> list[tuple[str, str]]:
    """(what, how much) for the strip under the headline; only what was recorded."""
    found: list[tuple[str, str]] = []
    if contents.rows:
        found.append(("steps", f"{contents.rows[-1].step:,}"))
        found.append(("training time", verdict.format_duration(verdict.measure_elapsed(contents))))
    if contents.curriculum.cost_s:
        found.append(("selecting examples", verdict.format_duration(contents.curriculum.cost_s)))
    if contents.series("num_answer_tokens"):
        found.append(("answer tokens learned from", f"{contents.total('num_answer_tokens'):,.0f}"))
    if passes := contents.total("work.teacher.prompt_passes"):
        found.append(("prompts read by the teacher", f"{passes:,.0f}"))
    if memory := max((value for _, value in contents.series("extra_memory_bytes")), default=0.0):
        found.append(("memory of a step, at most", verdict.format_memory(memory)))
    if contents.device:
        found.append(("device", contents.device))
    set_aside = contents.series("num_set_aside")
    if set_aside:  # a running total
        found.append(("examples set aside", f"{set_aside[-1][1]:,.0f}"))
    return found


def draw_main_figures(contents: RunContents, standing: verdict.Standing) -> list[Figure | None]:
    """The few pictures that answer whether it worked."""
    return [
        _draw_validation(standing),
        _draw_validation_by_time(contents, standing),
        _draw_reverse_kl(contents),
        _draw_probe(contents),
    ]


def _draw_validation(standing: verdict.Standing) -> Figure | None:
    if len(standing.curve) < 2:
        return None
    first, last = standing.curve[0], standing.curve[-1]
    sure = "; the band is the 95 % interval"
    if last.is_small:
        sure = f"; with {count_of(last.num_queries or 0)}, a rise or a fall may be chance"
    line = _make_line(standing, [float(student.step or 0) for student in standing.curve])
    return Figure(
        heading=f"mIoU on {verdict.name_queries(last)}",
        image=draw_curves("mIoU over steps", [line], y_range=(0.0, 1.0), rules=_make_rules(standing)),
        reading=f"{first.miou:.3f} at step {first.step or 0}, {last.miou:.3f} at step {last.step or 0}.",
        caption=f"How well the student's spans overlap the annotated ones, from 0 to 1{sure}. Good: it rises away "
        "from the best constant answer and towards the teacher. If it stays at the constant answer, the student has "
        "not learned to look at the video. If it rises and falls again, use an earlier checkpoint.",
    )


def _make_line(standing: verdict.Standing, xs: Sequence[float]) -> Series:
    """The student's curve with its intervals."""
    placed = list(zip(xs, standing.curve, strict=True))
    return Series(
        name="student",
        number=0,
        points=[(x, student.miou) for x, student in placed],
        band=[(x, *band) for x, student in placed if (band := student.interval("miou")) is not None],
    )


def _make_rules(standing: verdict.Standing) -> list[figures.ReferenceLine]:
    """Teacher and best constant answer, where they are of the queries of the curve."""
    rules = []
    if standing.teacher is not None and standing.is_curve_comparable:
        who = "best teacher" if len(standing.teachers) > 1 else "teacher"
        rules.append(figures.ReferenceLine(standing.teacher.miou, f"{who} {standing.teacher.miou:.2f}", "teacher"))
    floor = standing.curve[-1].constant_miou
    if floor is not None:
        rules.append(figures.ReferenceLine(floor, f"best constant answer {floor:.2f}", "floor"))
    return rules


def _draw_validation_by_time(contents: RunContents, standing: verdict.Standing) -> Figure | None:
    """The same against seconds, where they are known of every evaluation."""
    elapsed = {0.0: 0.0} | dict(contents.series("seconds"))
    seconds = [elapsed.get(student.step or 0, 0.0) for student in standing.curve]
    if len(seconds) < 2 or seconds != sorted(set(seconds)):
        return None
    unit, size = figures.choose_unit(seconds[-1])
    line = _make_line(standing, [each / size for each in seconds])
    best = max(standing.curve, key=lambda student: student.miou)
    until = elapsed[best.step or 0]
    heading = "mIoU against training time"
    return Figure(
        heading=heading,
        image=draw_curves(
            "mIoU against training time", [line], x_unit=unit, y_range=(0.0, 1.0), rules=_make_rules(standing)
        ),
        reading=f"The best, {best.miou:.3f}, after {verdict.format_duration(until)}.",
        caption="The same line against its cost; evaluations are not counted. Where it is flat, the time could have "
        "been saved.",
    )


def _draw_reverse_kl(contents: RunContents) -> Figure | None:
    points = contents.series("reverse_kl")
    if not points:
        return None
    return Figure(
        heading="Reverse KL to the teacher, nats per token",
        image=figures.draw_line_chart("Reverse KL per step", points),
        reading=write_first_and_last(points),
        caption="The distance between the student's and the teacher's next-token choices, on answers that the "
        "student wrote; 0 is full agreement. Good: a fast fall, then a slow one. If it stays flat, raise the "
        "learning rate, or check that the teacher is better than the student. If it rises, lower the learning rate.",
    )


def _draw_probe(contents: RunContents) -> Figure | None:
    after = dict(contents.series("reverse_kl_after"))
    probes = [(step, before, after[step]) for step, before in contents.series("reverse_kl_before") if step in after]
    if not probes:
        return None
    fell = sum(after < before for _, before, after in probes)
    stride = math.ceil(len(probes) / _MAX_PROBES)
    drawn = probes[::stride]
    note = "" if stride == 1 else f" One in {stride} is drawn."
    return Figure(
        heading="The same answers before and after one update, nats per token",
        image=figures.draw_probes("Reverse KL before and after an update", drawn),
        reading=f"It fell in {fell} of {len(probes)} probes.{note}",
        caption="Rings: reverse KL of a batch just before the update. Dots: the same tokens just after it, orange if "
        "the value rose. Good: each dot lies below its ring. This tests directly that the update does what it "
        "should. If the value often rises, the steps are too large: lower the learning rate or raise the batch size.",
    )
