"""Test queries on a time axis: the frames, the spans of everyone, and the tokens of the answer."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import HOSTILE, Elements, check_that_it_loads_and_runs_nothing, text_of
from test_report import metrics_row, write_evaluation, write_lines

from video_opd.cli import main
from video_opd.data.video.video_io import write_video
from video_opd.files.timeline_records import NUM_SHOWN, Timelines
from video_opd.grounding import write_predictions
from video_opd.report import write_report
from video_opd.report.run import video_frames
from video_opd.report.run.teacher_sight import FEW, measure_sight
from video_opd.report.run.video_frames import encode_picture, link_to, show_videos
from video_opd.sample_size import MIN_AGREEING


def query(id: str, video: str, kind: str = "improved", **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "kind": kind,
        "query": f"what happens in {id}",
        "video": video,
        "duration": 8.0,
        "annotated": [[2.0, 4.0]],
        "answers": {
            "student-before": {"text": "no idea", "spans": [], "reason": "no numbers", "iou": 0.0},
            "student-after": {"text": "2 - 6", "spans": [[2.0, 6.0]], "iou": 0.5},
            "teacher": {"text": "2 - 4", "spans": [[2.0, 4.0]], "iou": 1.0},
        },
        "tokens": {
            "texts": ["2", " -", " 6", "<|im_end|>"],
            "regions": ["digits", "format", "digits", "end"],
            "sampler_logprobs": [-1.0, -0.5, -0.25, 0.0],
            "student_logprobs": [-1.0, -0.5, -0.25, 0.0],
            "teacher_logprobs": [-0.5, -0.5, -4.25, 0.0],
            "blind_logprobs": [-3.0, -0.5, -2.0, 0.0],
        },
    } | changes


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A clip of 8 s that becomes brighter, a file that is none, and a folder of another name."""
    folder = tmp_path / "the videos"
    folder.mkdir()
    images = np.broadcast_to(np.arange(0, 240, 15, dtype=np.uint8)[:, None, None, None], (16, 64, 96, 3))
    write_video(folder / "a.mp4", np.ascontiguousarray(images), Fraction(2))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def run(tmp_path: Path, videos: Path) -> Path:
    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    (run / "recipe.toml").write_text(f'seed = 3\n[data]\nvideos = "{videos}"\ntest = "{tmp_path}/test.jsonl"\n')
    write_lines(run / "metrics.jsonl", [metrics_row(1)])
    write_evaluation(run, "student-after", 0.6, 1)
    return run


def write_timelines(run: Path, *queries: dict[str, Any]) -> None:
    found = {"format": 1, "seed": 3, "num_queries": 40, "num_asked_teacher": 12, "sample": [], "queries": queries}
    (run / "evaluation" / "timelines.json").write_text(json.dumps(found))


def page_of(run: Path, *more: Any) -> str:
    return write_report(run, *more).read_text(encoding="utf-8")


def test_spans_frames_and_tokens_lie_on_one_axis(run: Path) -> None:
    write_timelines(run, query("q1", "a.mp4"), query("q2", "a.mp4", "disagreed"), query("q3", "a.mp4", "random"))
    page = page_of(run)
    text = text_of(page)
    for words in (
        "“ what happens in q1 ” q1 , 8 s",
        "annotated 2–4 s teacher 2–4 s, IoU 1.00 before no span: no numbers after 2–6 s, IoU 0.50",
        "The IoU rose most from before training to after. Of 40 test queries.",
        "Of 12 of 40 test queries, those that the teacher was asked.",
        "Drawn with seed 3 before any answer was looked at. Those shown above are left out.",
        "advantage −4.000, log-prob of the sampler −0.250, of the learner −0.250, of the teacher −4.250, "
        "of the teacher without the video −2.000, digits of times",
        "before no idea after 2 - 6",
    ):
        assert words in text
    assert "is left out" not in text
    assert '<rect class="student" x="25.00%" width="50.00%"' in page
    assert '<rect class="teacher" x="25.00%" width="25.00%"' in page
    alts = re.findall(r'alt="at ([\d.]+) s"', page)[:10]
    assert (alts[0], alts[-1]) == ("0.0", "7.5")
    assert page.count('src="data:image/jpeg;base64,') == 30
    assert page == page_of(run), "the same folder gives the same page"


def test_a_span_is_a_link_to_this_part_of_the_file(run: Path, videos: Path) -> None:
    write_timelines(run, query("q1", "a.mp4", clip=[2.0, 7.0], duration=5.0), query("q2", "broken.mp4"))
    page = page_of(run)
    assert 'href="./../the%20videos/a.mp4#t=4.00,8.00" data-start="4.00" data-end="8.00"' in page, (
        "2 to 6 s of the clip"
    )
    assert 'preload="none" src="./../the%20videos/a.mp4"' in page
    assert link_to(videos, run / "report.html") == "", "a folder is not played"
    (script,) = re.findall("<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = hashlib.sha256(script.encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in page
    assert page.count("<script") == 1


@pytest.mark.parametrize(
    ("video", "why"),
    [
        ("broken.mp4", "No frames: "),
        ("absent.mp4", "No frames: "),
        ("../run/recipe.toml", "a manifest may only name files in the videos folder"),
        ("/etc/passwd", "a manifest may only name files in the videos folder"),
    ],
)
def test_a_video_that_cannot_be_shown_leaves_a_sentence(run: Path, video: str, why: str) -> None:
    write_timelines(run, query("q1", video))
    page = page_of(run)
    assert why in text_of(page)
    assert "2–6 s, IoU 0.50" in text_of(page)
    assert "<img" not in page


def test_without_the_folder_of_the_videos_it_is_asked_for(run: Path, videos: Path, capsys: Any) -> None:
    write_timelines(run, query("q1", "a.mp4"))
    moved = videos.rename(videos.parent / "moved")
    page = page_of(run)
    assert "is not a folder. Write the report again with --videos FOLDER." in text_of(page)
    check_that_it_loads_and_runs_nothing(page)
    assert main(["report", str(run), "--videos", str(moved)]) == 0
    assert "./../moved/a.mp4" in (run / "report.html").read_text()


def test_paths_that_the_system_refuses_leave_a_sentence(run: Path, tmp_path: Path) -> None:
    long = "/" + "x" * 256
    write_timelines(run, query("q1", "a.mp4"))
    (run / "recipe.toml").write_text(f'[data]\nvideos = "{long}"\ntest = "{long}"\n')
    assert "cannot be used (File name too long). Write the report again" in text_of(page_of(run))
    (run / "evaluation" / "timelines.json").unlink()
    (run / "evaluation" / "student-after.predictions.jsonl").touch()
    assert "The test queries cannot be shown: /xxx" in text_of(page_of(run))


def test_queries_without_tokens_and_those_of_a_newer_version_are_said_to_be_so(run: Path) -> None:
    write_timelines(run, query("q1", "a.mp4"))
    assert "are not scored" not in text_of(page_of(run, run))
    write_timelines(run, query("q1", "a.mp4", tokens=None))
    assert "remove evaluation/timelines.json and run the same `video-opd train`" in text_of(page_of(run, run))
    found = json.loads((run / "evaluation" / "timelines.json").read_text())
    (run / "evaluation" / "timelines.json").write_text(json.dumps(found | {"format": 2}))
    assert "is left out: its format is 2, and this version reads up to 1" in text_of(page_of(run))


def test_a_teacher_that_answered_and_judged_nothing_is_explained(run: Path) -> None:
    unjudged = query("q1", "a.mp4")["tokens"] | {"teacher_logprobs": [], "blind_logprobs": []}
    write_timelines(run, query("q1", "a.mp4", tokens=unjudged))
    text = text_of(page_of(run, run))
    assert "which teacher judges an example is known for the training examples only." in text
    assert "are not scored" not in text
    write_timelines(run, query("q1", "a.mp4", tokens=unjudged, answers={}))
    assert "which teacher judges" not in text_of(page_of(run, run)), "this run has no teacher"


def test_a_page_shows_no_more_queries_of_a_kind_than_a_run_chooses(run: Path) -> None:
    write_timelines(run, *(query(f"q{n}", "a.mp4", kind) for n in range(9) for kind in ("improved", "hurt")))
    assert page_of(run, run).count("what happens in") == 2 * NUM_SHOWN


def test_without_queries_nothing_is_decoded(run: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("video_opd.data.video.decoding_workers.DecodingWorkers", None)
    assert show_videos([], videos, run / "report.html") == {}


def test_an_older_run_is_shown_without_tokens(run: Path, tmp_path: Path) -> None:
    row = {"id": "q1", "video": "a.mp4", "query": "it", "spans": [[2.0, 4.0]], "duration": 8.0}
    write_lines(tmp_path / "test.jsonl", [row, row | {"id": "q2"}])
    for name, end in (("student-before", 9.0), ("student-after", 4.0)):
        answers = dict.fromkeys(("q1", "q2"), f"from 2.0 to {end} seconds")
        write_predictions(run / "evaluation" / f"{name}.predictions.jsonl", answers)
    page = page_of(run)
    assert "Most improved" in page
    assert "The tokens of these answers are not scored." in page
    assert page.count('src="data:image/jpeg') == 20
    inputs = {"format": 1, "from_begin": True, "data_sha256": "", "models": {}, "videos": {"folder": ".", "bytes": {}},
              "files": {"test": {"path": str(tmp_path / "test.jsonl"), "bytes": 1, "sha256": "0" * 64}}}  # fmt: skip
    (run / "inputs.json").write_text(json.dumps(inputs))
    assert "has changed since the run" in text_of(page_of(run))
    (tmp_path / "test.jsonl").unlink()
    assert "The test queries cannot be shown: " in text_of(page_of(run))


def broken(found: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {key: value if key == name else broken(each, name, value) if isinstance(each, dict) else each
            for key, each in found.items()}  # fmt: skip


@pytest.mark.parametrize("value", [None, "x", -1.0, [], {}, [[5.0, 1.0]], 1e300])
def test_each_key_may_hold_something_else(run: Path, value: Any) -> None:
    whole = query("q1", "a.mp4", "random")
    for name in (*whole, *whole["tokens"], "spans", "text", "iou"):
        write_timelines(run, broken(whole, name, value))
        assert Elements(page_of(run, run)).open == []  # no videos are there: that is faster
    (run / "evaluation" / "timelines.json").write_text("{broken")
    assert "evaluation/timelines.json is left out" in text_of(page_of(run))


def test_hostile_text_stays_text(run: Path, videos: Path) -> None:
    name = "<img src=x onerror=alert(1)>'\"#?&.mp4"
    (videos / "a.mp4").rename(videos / name)
    write_timelines(run, query("q1", name))
    elements = Elements(page_of(run))
    answers = {name: {"text": HOSTILE, "spans": [[1.0, 2.0]], "reason": HOSTILE} for name in ("teacher", HOSTILE)}
    tokens = {"texts": [HOSTILE], "regions": [HOSTILE], "teacher_logprobs": [-1.0], "student_logprobs": [-2.0]}
    write_timelines(run, query(HOSTILE, name, query=HOSTILE + "long " * 200_000, answers=answers, tokens=tokens))
    page = page_of(run)
    attacked = Elements(page)
    assert attacked.open == []
    assert attacked.names <= elements.names
    assert attacked.attributes <= elements.attributes
    assert "./../the%20videos/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%27%22%23%3F%26.mp4#t=" in page
    assert len(page) < 150_000


def test_pictures_share_what_a_page_may_hold(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    large, small = encode_picture(noise, 100_000), encode_picture(noise, 9_000)
    assert len(small) <= 9_000 < len(large)
    assert encode_picture(noise, 1_000) == ""
    monkeypatch.setattr(video_frames, "MOST_BYTES", 100)
    write_timelines(run, query("q1", "a.mp4"))
    assert "<img" not in page_of(run)


def test_the_time_for_decoding_has_an_end(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_frames, "_ALL_S", -1.0)
    write_timelines(run, query("q1", "a.mp4"))
    assert "the other videos took all the time" in text_of(page_of(run))


def test_how_much_the_judgement_depends_on_the_video_is_measured_on_the_sample_alone() -> None:
    def measure(count: int, **changes: Any) -> Any:
        queries = [query(f"q{number}", "a.mp4") for number in range(count)] + [query("other", "a.mp4", **changes)]
        sample = [each["id"] for each in queries[:-1]]
        return measure_sight(Timelines.from_json({"sample": sample, "queries": queries}))

    assert measure(4) is None, "too few"
    sight = measure(5, tokens={})
    assert sight.num_queries == 5
    assert [(each.region, each.num_tokens) for each in sight.regions] == [("digits", 10), ("format", 5), ("end", 5)]
    digits = sight.regions[0]
    assert digits.advantage == pytest.approx((0.5 + 4.0) / 2)
    assert digits.with_video == pytest.approx((-0.5 - 4.25) / 2)
    assert digits.without_video == pytest.approx((-3.0 - 2.0) / 2)
    assert digits.change == pytest.approx((2.5 + 2.25) / 2)
    assert digits.num_turned == 5, "2 was better than the student's, and is worse without the video"
    assert sight.change == pytest.approx((2.5 + 2.25) / 4)
    assert FEW == MIN_AGREEING
