"""What other projects' evaluation scripts write: every answer finds its query, and the file's own annotations will do.

The shapes are those of the scripts named in `logs`; the numbers are made up.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from video_opd.cli import main
from video_opd.data.manifest import write_manifest
from video_opd.eval.scorers import GroundTruth, read_matched, read_with_truth, score_as
from video_opd.types import Example, Span

# Two videos whose queries do not stand together, the same words twice, a query within another.
ASKED = [
    ("AAAAA", "person opens a door.", (2.0, 8.0)),
    ("BBBBB", "a person runs", (1.0, 4.0)),
    ("AAAAA", "person opens a door and leaves.", (6.0, 12.0)),
    ("AAAAA", "person opens a door.", (20.0, 24.0)),
]
PAIRS = [(2.0, 7.0), (1.0, 3.0), (6.0, 10.0), (21.0, 24.0)]
"""What the model says to each."""
IDS = ["charades-sta/AAAAA/0", "charades-sta/BBBBB/0", "charades-sta/AAAAA/1", "charades-sta/AAAAA/2"]
RIGHT = dict(zip(IDS, PAIRS, strict=True))


@pytest.fixture
def annotated() -> GroundTruth:
    return GroundTruth(
        examples=tuple(
            Example(id=id_, video=f"{video}.mp4", query=query, spans=(Span(*span),), duration=50.0)
            for id_, (video, query, span) in zip(RIGHT, ASKED, strict=True)
        )
    )


def together() -> list[tuple[tuple[str, str, tuple[float, float]], tuple[float, float]]]:
    """In the order of Time-R1's loader, which keeps the queries of a video together."""
    rows = list(zip(ASKED, PAIRS, strict=True))
    return [row for video in ("AAAAA", "BBBBB") for row in rows if row[0][0] == video]


def rows() -> list[tuple[int, str, str, list[float], list[float]]]:
    return [
        (number, video, query, list(span), list(pair))
        for number, ((video, query, span), pair) in enumerate(zip(ASKED, PAIRS, strict=True))
    ]


MUSEG = "Please find the visual event described by a sentence. Now I will give you the textual sentence: {}"
FILES: dict[str, Callable[[], object]] = {
    "time-r1": lambda: [
        {"qid": f"charades_{number}", "pred": list(pair), "target": list(span), "duration": 50.0,
         "output_text": f"<think>3.0 to 4.0</think><answer>{pair[0]} to {pair[1]}</answer>"}
        for number, ((_, _, span), pair) in enumerate(together())
    ],
    "time-r1 in the order of the manifest": lambda: [
        {"qid": f"tvgbench_{number}", "pred": pair, "target": span, "duration": None}
        for number, _, _, span, pair in rows()
    ],
    "timechat": lambda: {
        str(number): {"timestamp": [pair], "query": query, "vid": f"{video}.mp4"}
        for number, video, query, _, pair in rows()
    },
    "timechat before it is formatted": lambda: [
        {"vname": f"{video}.mp4", "generated_cap": f"It happens in {pair[0]} - {pair[1]} seconds", "query": query,
         "id": number, "prompt": ""} for number, video, query, _, pair in rows()
    ],
    "trace": lambda: {
        str(number): {"query": "written by the model", "timestamp": pair, "vid": f"{video}.mp4"}
        for number, video, _, _, pair in rows()
    },
    "trace before it is formatted": lambda: [
        {"video": f"/data/{video}.mp4", "id": number, "timestamps": [[1.0], pair], "scores": [[]], "captions": ["x"]}
        for number, video, _, _, pair in rows()
    ],
    "museg": lambda: [
        *({"video": f"charades/{video}.mp4", "question": MUSEG.format(query), "groundtruth": [span],
           "result": {"output": f"{pair[0]}-{pair[1]}", "conversation": [
               "user: <video>", f"assistant: <think>3-4</think><answer>{pair[0]}-{pair[1]}</answer>"]}}
          for _, video, query, span, pair in rows()),
        {"tot": 4, "m_iou": 0.5},
    ],
    "museg without its conversation": lambda: [
        {"video": f"{video}.mp4", "question": query, "groundtruth": [span], "result": {"output": "{}-{}".format(*pair)}}
        for _, video, query, span, pair in rows()
    ],
    "vtimellm": lambda: [
        {"video_id": video, "task": "grounding", "query_id": 0,
         "answer": f"From {2 * pair[0]:02.0f} to {2 * pair[1]:02.0f}.",
         "info": {"sentence_id": place, "iou": 0.5}}
        for (_, video, _, _, pair), place in zip(rows(), (0, 0, 1, 2), strict=True)
    ],
    "videochat-r1": lambda: [
        {"video_path": f"/data/{video}.mp4", "query": query, "answer": f"<answer>{pair[0]} to {pair[1]}</answer>",
         "timestamp": pair, "iou": 0.5, "ans": span} for _, video, query, span, pair in rows()
    ],
    "videomind": lambda: [
        {"video_path": f"/data/{video}.mp4", "query": query.strip("."), "duration": 50.0, "span": [span],
         "pred": [pair, [0.0, 50.0]], "conf": [0.9, 0.1], "agents": ["grounder"]}
        for _, video, query, span, pair in rows()
    ],
    "unitime": lambda: [
        {"qid": number, "id": video, "annos": [{"query": query, "window": [span]}], "duration": 50.0,
         "pred_relevant_windows": [pair], "pred_relevant_windows_mr_seg": None}
        for number, video, query, span, pair in rows()
    ],
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def make(value: object, form: str) -> Path:
        path = tmp_path / ("log.jsonl" if form == "lines" else "log.json")
        if form == "lines":
            rows = value if isinstance(value, list) else [{key: row} for key, row in value.items()]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            path.write_text(json.dumps(value, indent=2 if form == "wide" else None))
        return path

    return make


@pytest.mark.parametrize("form", ["lines", "one line", "wide"])
@pytest.mark.parametrize("name", FILES)
def test_every_answer_finds_its_query(annotated, write, name, form):
    found = read_matched(write(FILES[name](), form), annotated)
    assert found.format == name.split(" ")[0]
    assert (found.unknown, set(found.by_id)) == ((), set(RIGHT))
    assert {id_: tuple(answer.parse().spans[0]) for id_, answer in found.by_id.items()} == RIGHT


OWN = [name for name in FILES if not name.startswith(("timechat", "trace", "vtimellm"))]


@pytest.mark.parametrize("name", OWN)
def test_the_annotations_of_the_file_itself(annotated, write, name):
    path = write(FILES[name](), "wide")
    truth, found = read_with_truth(path)
    assert [example.spans[0] for example in truth.examples] == [
        annotated.examples[number].spans[0] for number in ((0, 2, 3, 1) if name == "time-r1" else (0, 1, 2, 3))
    ]
    assert len(found.by_id) == 4
    for scorer in ("timechat", "qvhighlights", "museg"):
        assert score_as(scorer, truth, found).flat() == pytest.approx(
            score_as(scorer, annotated, read_matched(path, annotated)).flat()
        )
    assert "queries without a row in it are not known" in found.notes[0]


@pytest.mark.parametrize("name", sorted(FILES.keys() - set(OWN)))
def test_a_file_without_annotations_needs_them(refused, write, name):
    told = refused("metrics", write(FILES[name](), "wide"))
    assert "the file does not contain the annotations. Give the annotations with --ground-truth" in told


@pytest.mark.parametrize("nested", [False, True])
def test_keys_carry_annotations(tmp_path, capsys, nested):
    """TimeLens's and lmms-eval's files, and a second file held against the first."""
    keys = [f"c/{video}.mp4>>>{query}>>>{[span] if nested else span}" for _, video, query, span, _ in rows()]
    timelens = {key: {"timestamps": [list(pair)], "duration": 50.0} for key, pair in zip(keys, PAIRS, strict=True)}
    lmms = {key: "The event happens in {} - {} seconds".format(*pair) for key, pair in zip(keys, PAIRS, strict=True)}
    (tmp_path / "a.json").write_text(json.dumps(timelens))
    (tmp_path / "b.json").write_text(json.dumps(lmms))
    samples = [{"doc_id": n, "timelens_mIOU": {key: text}} for n, (key, text) in enumerate(lmms.items())]
    (tmp_path / "c.json").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    for name in ("a", "b", "c"):
        assert main(["metrics", str(tmp_path / f"{name}.json"), "--as", "lmms-eval-timelens", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["scores"]["IOU@7"] == 50.0
    assert main(["metrics", str(tmp_path / "a.json"), "--compare", str(tmp_path / "b.json"), "--as", "timechat", "--json"]) == 0  # fmt: skip  # noqa: E501
    comparison = json.loads(capsys.readouterr().out)["comparison"]
    assert comparison["scores"]["IOU 0.7"]["num_queries"] == 4


def test_rows_that_find_nothing_are_counted(annotated, write):
    log = FILES["timechat"]()
    log["7"] = {"timestamp": [[0, 1]], "query": "nobody asked this", "vid": "AAAAA.mp4"}
    log["8"] = {"timestamp": [[0, 1]], "query": "a person runs", "vid": "ZZZZZ.mp4"}
    found = read_matched(write(log, "wide"), annotated)
    assert (found.unknown, found.num_rows, len(found.by_id)) == (("7", "8"), 6, 4)


def test_a_number_is_believed_only_where_the_rest_agrees(annotated, write):
    """Time-R1's numbers belong to its own copy of the annotations; another copy has other queries there."""
    log = FILES["time-r1"]()
    assert len(read_matched(write(log, "lines"), annotated).by_id) == 4
    log[1]["target"] = [30.0, 40.0]
    found = read_matched(write(log, "lines"), annotated)
    assert (len(found.by_id), found.unknown) == (3, ("charades_1",))
    trace = FILES["trace"]()
    trace["1"]["vid"], trace["2"] = "CCCCC.mp4", {}
    found = read_matched(write(trace, "wide"), annotated)
    assert found.unknown == ("1", "2"), "what a row without a video answers is not known where others disagree"


def test_another_annotated_span_is_told(annotated, write):
    moved = replace(annotated, examples=tuple(replace(one, spans=(Span(0.0, 1.0),)) for one in annotated.examples[1:2]))
    found = read_matched(write(FILES["unitime"]()[1:2], "lines"), moved)
    assert "1 rows carry another annotated span than the ground truth given" in " ".join(found.notes)


def test_vtimellms_numbers_are_percent_and_its_captions_no_answers(annotated, write):
    log = [{"video_id": "AAAAA", "task": "captioning", "query_id": 0, "answer": "[]"}, *FILES["vtimellm"]()]
    found = read_matched(write(log, "lines"), annotated)
    notes = " ".join(found.notes)
    assert "1 rows of the log are of another task than grounding: skipped" in notes
    assert "The predicted times are taken as percent and made seconds" in notes
    as_seconds = read_matched(write(log, "lines"), annotated, unit="seconds")
    assert as_seconds.by_id["charades-sta/BBBBB/0"].parse().spans == ((2.0, 6.0),)


def test_unitimes_empty_answer(annotated, write):
    row = FILES["unitime"]()[0] | {"pred_relevant_windows": [[-1, -1]]}
    assert read_matched(write([row], "lines"), annotated).by_id["charades-sta/AAAAA/0"].spans == ()


def test_vue_tr_rows_keyed_id(annotated, write):
    vue = replace(annotated, examples=(replace(annotated.examples[0], id="vue-tr/AAAAA/12"),))
    for key in ("query_id", "id"):
        found = read_matched(write([{key: 12, "video_id": "AAAAA", "answer": [[1.0, 2.5]]}], "wide"), vue)
        assert (found.format, found.by_id["vue-tr/AAAAA/12"].spans) == ("vue-tr", ((1.0, 2.5),))


def test_a_qid_that_many_ids_end_in_is_told_apart_by_video_and_query(annotated, write):
    """A submission with the numbers of a data set whose ids count within a video."""
    row = {"qid": 0, "vid": "BBBBB", "query": "a person runs", "pred_relevant_windows": [[1, 3, 0.5]]}
    assert list(read_matched(write([row], "lines"), annotated).by_id) == ["charades-sta/BBBBB/0"]


def flat(scores: dict, prefix: str = "") -> dict[str, float]:
    found = {}
    for name, value in scores.items():
        found |= flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value}
    return found


@pytest.mark.parametrize("scorer", ["ours", "timelens", "time-r1", "timelens2", "vue-tr", "museg", "timechat"])
@pytest.mark.parametrize(
    ("unit", "more", "by"),
    [("fraction", [], 50.0), ("percent", [], 0.5), ("milliseconds", [], 0.001), ("minutes", [], 60.0),
     ("frames", ["--fps", "4"], 0.25)],
)  # fmt: skip
def test_units(annotated, tmp_path, capsys, scorer, unit, more, by):
    """Spans and texts, by every parser, score as the same in seconds."""
    write_manifest(tmp_path / "m.jsonl", annotated.examples)
    wanted = {}
    for form in ("{0!r} to {1!r}", "<answer>{0!r} to {1!r}</answer>", "[[{0!r}, {1!r}]]", "{0!r} - {1!r}", None):
        for name, divisor in (("seconds", 1.0), (unit, by)):
            with (tmp_path / "p.jsonl").open("w") as file:
                for id_, pair in RIGHT.items():
                    ends = [end / divisor for end in pair]
                    file.write(json.dumps({"id": id_} | ({"answer": form.format(*ends)} if form else {"spans": [ends]})) + "\n")  # fmt: skip  # noqa: E501
            words = ["--unit", name, *more] if name == unit else []
            assert main(["metrics", str(tmp_path / "p.jsonl"), "--ground-truth", str(tmp_path / "m.jsonl"),
                         "--as", scorer, "--json", *words]) == 0  # fmt: skip
            report = json.loads(capsys.readouterr().out)
            wanted[name] = report["scores"]
        assert flat(wanted[unit]) == pytest.approx(flat(wanted["seconds"]))
        assert f"The predicted times are taken as {unit}" in " ".join(report["notes"])


def test_other_units_are_warned_about(tmp_path, capsys):
    examples = [
        Example(id=str(n), video=f"{n}.mp4", query="q", spans=(Span(0.5 * n, 0.5 * n + 8),), duration=40.0)
        for n in range(60)
    ]
    write_manifest(tmp_path / "m.jsonl", examples)
    for form in ("{:.4f} to {:.4f}", None):
        rows = [
            {"id": one.id} | ({"answer": form.format(*ends)} if form else {"spans": [ends]})
            for one in examples
            for ends in [[end / 40 for end in one.spans[0]]]
        ]
        (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ["metrics", str(tmp_path / "p.jsonl"), "--ground-truth", str(tmp_path / "m.jsonl")]
        for json_flag in ([], ["--json"]):
            assert main([*words, *json_flag]) == 0
            captured = capsys.readouterr()
            assert captured.err.startswith("video-opd: warning: The predictions are very likely fractions of the video")
            assert "mIoU is 0.0" in captured.err
            assert "would be 1.000 as fractions. If they are, give `--unit fraction`." in captured.err
        report = json.loads(captured.out)
        assert report["warnings"][0] in captured.err
        assert report["likely_unit"]["unit"] == "fraction"
        assert main([*words, "--unit", "fraction", "--json"]) == 0
        captured = capsys.readouterr()
        assert (captured.err, "warnings" in json.loads(captured.out)) == ("", False)
        assert json.loads(captured.out)["scores"]["miou"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("unit", "said", "factor"),
    [("milliseconds", "{:.0f} ms - {:.0f} ms", 1000), ("minutes", "{:.4f} minutes - {:.4f} minutes", 1 / 60)],
)
def test_a_unit_that_only_our_parser_heeds_is_warned_about(tmp_path, capsys, unit, said, factor):
    """Official parsers take `1200 ms - 4500 ms` for seconds; scorers that read texts with ours do not."""
    examples = [
        Example(id=str(n), video=f"{n}.mp4", query="q", spans=(Span(0.5 * n, 0.5 * n + 8),), duration=40.0)
        for n in range(60)
    ]
    write_manifest(tmp_path / "m.jsonl", examples)
    rows = [{"id": one.id, "answer": said.format(*(end * factor for end in one.spans[0]))} for one in examples]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["metrics", str(tmp_path / "p.jsonl"), "--ground-truth", str(tmp_path / "m.jsonl"), "--json", "--as"]
    for scorer in ("timelens", "timelens2", "time-r1", "timechat"):
        assert main([*words, scorer]) == 0
        assert f"very likely {unit}, not seconds" in capsys.readouterr().err
    assert main([*words, "timelens2", "--unit", unit]) == 0
    captured = capsys.readouterr()
    assert (captured.err, round(json.loads(captured.out)["scores"]["mIoU"], 2)) == ("", 1.0)
    for scorer, score in (("ours", "miou"), ("hirest", "all")):
        assert main([*words, scorer]) == 0
        captured = capsys.readouterr()
        assert "very likely" not in captured.err
        assert json.loads(captured.out)["scores"][score], "the texts say the unit, and ours reads it"


def test_no_warning_on_published_predictions(shared_data, capsys):
    """Nor on the answers of TimeLens2's cases."""
    for predictions, truth, scorer in (
        ("moment_detr_sample_val_preds.jsonl", "highlight_val_release.jsonl", "qvhighlights"),
        ("vue_tr_v2_results_Vidi2.json", "vue_tr_v2_ground_truth.json", "vue-tr"),
    ):
        for name in (scorer, "ours"):
            assert main(["metrics", str(shared_data / "evaluators" / predictions), "--ground-truth",
                         str(shared_data / "annotations" / truth), "--as", name, "--json"]) == 0  # fmt: skip
            captured = capsys.readouterr()
            assert "warning" not in captured.err
            assert "warnings" not in json.loads(captured.out)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--unit", "frames"], "--unit frames without --fps: only frames are converted to seconds by a frame rate"),
        (["--fps", "2"], "--fps without `--unit frames`"),
        (["--unit", "percent", "--fps", "2"], "--fps without `--unit frames`"),
        (["--unit", "frames", "--fps", "0"], "--fps 0: it is not a frame rate"),
        (["--unit", "frames", "--fps", "nan"], "--fps nan: it is not a frame rate"),
        (["--unit", "hours"], "invalid choice: 'hours'"),
    ],
)
def test_units_that_cannot_be(refused, annotated, tmp_path, words, told):
    write_manifest(tmp_path / "m.jsonl", annotated.examples)
    (tmp_path / "p.jsonl").write_text('{"id": "charades-sta/AAAAA/0", "answer": "1 - 2"}\n')
    assert told in refused("metrics", tmp_path / "p.jsonl", "--ground-truth", tmp_path / "m.jsonl", *words)


def test_units_of_a_video_of_unknown_length(refused, tmp_path):
    (tmp_path / "p.json").write_text('{"a.mp4>>>q>>>[[0, 4]]": "0.1 - 0.4"}')
    told = refused("metrics", tmp_path / "p.json", "--unit", "fraction")
    assert "has no duration" in told


def test_what_is_offered():
    from video_opd.cli.looking_commands import Unit
    from video_opd.grounding.time_units import UNITS

    assert get_args(Unit) == UNITS


def test_what_was_found_and_what_is_read(refused, annotated, tmp_path):
    write_manifest(tmp_path / "m.jsonl", annotated.examples)
    for text in ('{"question_id": 1, "prediction": "1 - 2"}', '[{"video": "a", "start": 1, "end": 2}]'):
        (tmp_path / "x.json").write_text(text)
        told = refused("metrics", tmp_path / "x.json", "--ground-truth", tmp_path / "m.jsonl")
        assert "its first row has the keys `" in told
        assert "time-r1, timechat, trace, museg" in told
