"""Files of the benchmarks that have a scorer of their own: what they may hold, what is refused, what is said."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.errors import DataError
from video_opd.eval.scorers import GroundTruth, read_ground_truth, read_matched, score_as
from video_opd.eval.scorers._parsers import et_bench

CASES = json.loads(Path(__file__).with_name("side_by_side.json").read_text())
_VALUE = re.compile(r'-?\d+(?:\.\d+)?|"[^"]*"')
_JUNK = ("null", "-1", '"x"', "[]", "{}", "1e308", "-1e308", '""', "true", '"0:12"', "[[", "}", "0", "[3]", "5.5", "12",
         '"A"', "9" * 400)  # fmt: skip
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case['scorer']}" for n, case in enumerate(CASES)])

ET = {"task": "tvg", "source": "s", "idx": 0, "video": "s/v.mp4", "duration": 60, "tgt": [0, 10]}
GQA = {"1001": {"duration": 40, "location": {"3": [[0, 10], [20, 30]], "5": [[5, 6]]}, "fps": 30}}
CSV = "video_id,qid,question,answer,a0,a1,a2,a3,a4\n1001,3,why,a cat,a dog,a cat,c,d,e\n1001,5,why,A,A,b,c,d,B\n"
CG = {"qid": 1, "video_uid": "v", "question": "q", "choices": ["x", "y"], "right_answer": "B", "duration": 60,
      "clue_intervals": [[0, 10]]}  # fmt: skip
DIDEMO = {"annotation_id": 1, "video": "v.mov", "description": "d", "num_segments": 6, "times": [[0, 0], [1, 2]]}
HIREST = {"Do it": {"v.mp4": {"relevant": True, "clip": True, "v_duration": 60, "bounds": [0, 10]}}}


@pytest.fixture
def put(tmp_path):
    """Write files and return the path of the first: text as it is, a list as lines for `.jsonl`, else JSON."""

    def make(**files: object) -> Path:
        paths = [tmp_path / name.replace("__", "-").replace("_DOT_", ".") for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            if path.suffix == ".jsonl":
                content = "".join(json.dumps(row) + "\n" for row in content)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return paths[0]

    return make


@pytest.fixture
def scored(put):
    """The scores and the notes."""

    def run(scorer: str, truth: GroundTruth | Path, predictions: Path):
        truth = truth if isinstance(truth, GroundTruth) else read_ground_truth(truth)
        answers = read_matched(predictions, truth)
        found = score_as(scorer, truth, answers)
        return found.scores, " ".join((*answers.notes, *found.notes))

    return run


def test_et_bench_of_a_result_file_with_other_tasks(put, scored):
    """The result file may be the ground truth as well; what asks for no moment is passed over."""
    rows = [ET | {"a": "0 - 5"}, {"task": "rar", "source": "s", "idx": 0, "a": "(B)"}, ET | {"idx": 1, "a": "0 - 9"}]
    path = put(answers_DOT_json=rows)
    scores, notes = scored("et-bench", path, path)
    assert scores["tvg"]["s"] == {
        "Total": 2, "Failed": 0, "mIoU": 0.7, "F1@0.1": 1.0, "F1@0.3": 1.0, "F1@0.5": 1.0, "F1@0.7": 0.5, "F1": 0.875,
    }  # fmt: skip
    assert (scores["TVG (F1)"], scores["Mean F1"], "F1 (gnd)" in scores) == (87.5, 0.875, False)
    assert notes == ""


def test_et_bench_carries_its_annotations(put, capsys):
    """The official scorer is given the result file alone."""
    case = CASES[0]
    path = put(answers_DOT_json=case["predictions"]["answers.json"])
    assert main(["metrics", str(path), "--as", "et-bench", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == case["scores"]


def test_et_bench_takes_numbers_too(put, scored):
    """Our rows: the spans as they stand, the start of the first for the point that VHD asks for."""
    rows = [ET | {"task": task} for task in ("tvg", "vhd", "evs", "tal")]
    truth = put(gt_DOT_json=rows)
    said = [{"id": f"et-bench/{row['task']}/s/0", "spans": [[10.0, 0.0], [30.4, 31.5]]} for row in rows]
    scores, _ = scored("et-bench", truth, put(p_DOT_jsonl=said))
    assert scores["tvg"]["s"]["mIoU"] == 1, "the ends are put in order"
    assert scores["vhd"]["s"]["F1"] == 1, "a window includes its end"
    assert scores["evs"]["s"]["F1"] == pytest.approx(2 * (10 / 12) / (10 / 12 + 1), abs=1e-5), "30.4 - 31.5 is 30 - 32"
    assert scores["tal"]["s"]["F1@0.7"] == pytest.approx(2 / 3, abs=1e-5)


def test_et_bench_leaves_a_failed_summary_out_and_counts_other_failures(put, scored):
    truth = put(gt_DOT_json=[ET | {"task": task, "idx": n} for task in ("tvg", "evs") for n in (0, 1)])
    said = [{"id": f"et-bench/{task}/s/{n}", "answer": ["0 - 10", "no"][n]} for task in ("tvg", "evs") for n in (0, 1)]
    scores, notes = scored("et-bench", truth, put(p_DOT_jsonl=said))
    assert [(scores[task]["s"]["F1"], scores[task]["s"]["Failed"]) for task in ("tvg", "evs")] == [(0.5, 1), (1.0, 1)]
    assert "2 of 4 answers hold no span" in notes


def test_et_bench_meets_thresholds_in_two_precisions(put, scored):
    """IoU 7 / 10 in single precision is less than 0.7 in double precision, and 0.7 in single."""
    truth = put(gt_DOT_json=[ET, ET | {"task": "tal"}, ET | {"task": "epm", "tgt": [[0, 10], [20, 30]]}])
    said = [{"id": f"et-bench/{task}/s/0", "answer": "0 - 7"} for task in ("tvg", "tal", "epm")]
    scores, notes = scored("et-bench", truth, put(p_DOT_jsonl=said))
    assert [scores[task]["s"]["F1@0.7"] for task in ("tvg", "tal", "epm")] == [0, 1, 0]
    assert scores["epm"]["s"]["F1@0.5"] == 1
    assert "1 queries of TVG or EPM have several spans: the first counts" in notes


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("From 3 to 5, then 9.5   to 7.", ((3, 5), (7, 9.5))),
        ("3\tto 5", ()),  # a blank before `to`
        ("Starts at 3 or 4.\nEnds at 9!\nThe start of 12.", ((3, 9),)),
        ("1-2, 4 to 5", ((1, 2),)),
        ("3. - 5.", ((3, 5),)),
        ("happens at 00:10:20", ()),
    ],
)
def test_how_et_bench_reads(text, pairs):
    assert et_bench(text) == pairs


def test_et_bench_does_not_stop_at_a_number_with_two_dots(put, scored):
    truth = put(gt_DOT_json=[ET])
    scores, _ = scored("et-bench", truth, put(p_DOT_json=[ET | {"a": "1..2 - 3"}]))
    assert scores["tvg"]["s"]["Failed"] == 1


def test_et_bench_of_another_manifest_says_what_it_takes_it_for(put, scored, truth, answers):
    found = score_as("et-bench", truth((0, 10), [(0, 5), (6, 9)]), answers("0 - 10", "0 - 5"))
    assert {task for task in found.scores if task.islower()} == {"tvg", "tal"}
    assert "2 queries are of no task of E.T. Bench" in " ".join(found.notes)


def test_nextgqa_with_its_options(put, scored):
    """An option by its letter or its words; one that is called `A` is itself, whatever its place."""
    truth = read_ground_truth(put(gsub_val_DOT_json=GQA, val_DOT_csv=CSV))
    assert [example.query for example in truth.examples] == ["why", "why"]
    names = ["nextgqa/1001/3", "nextgqa/1001/5"]

    def acc(*choices: str) -> float:
        rows = [{"id": id_, "spans": [span], "choice": choice}
                for id_, span, choice in zip(names, ([0, 10], [5, 6]), choices, strict=True)]  # fmt: skip
        return scored("nextgqa", truth, put(p_DOT_jsonl=rows))[0]["Acc@GQA"]

    assert acc("B", "A") == acc("(b)", "a") == acc("a cat", "A") == acc("B. a cat", "A.") == 100
    assert acc("a dog", "A") == acc("A", "A") == acc("Because", "A") == acc("", "A") == 50
    assert acc("C", "B") == 0, "`B` is the words of the last option"


def test_nextgqa_needs_the_iop_for_its_accuracy(put, scored):
    """IoP 0.5 is enough, whatever the IoU; a span that is too long is not."""
    truth = put(gsub_val_DOT_json=GQA, val_DOT_csv=CSV)
    rows = [{"id": "nextgqa/1001/3", "spans": [[9, 11]], "choice": "B"},
            {"id": "nextgqa/1001/5", "spans": [[0, 40]], "choice": "A"}]  # fmt: skip
    scores, notes = scored("nextgqa", truth, put(p_DOT_jsonl=rows))
    assert scores == {"Acc@GQA": 50.0, "mIoP": 26.2, "IoP@0.3": 50.0, "IoP@0.5": 50.0, "mIoU": 5.8, "IoU@0.3": 0.0, "IoU@0.5": 0.0}  # fmt: skip  # noqa: E501
    assert notes == ""


def test_nextgqa_points_and_reversed_spans(put, scored):
    truth = put(gsub_val_DOT_json=GQA)
    scores, notes = scored("nextgqa", truth, put(test_ground_DOT_json={"1001_3": [20, 20], "1001_5": [6, 5]}))
    assert scores == {"mIoP": 50.0, "IoP@0.3": 50.0, "IoP@0.5": 50.0, "mIoU": 0.0, "IoU@0.3": 0.0, "IoU@0.5": 0.0}
    assert "Acc@GQA needs the options chosen" in notes
    assert "1 spans end before they start" in notes


def test_nextgqa_takes_the_answers_beside_the_spans(put, scored):
    truth = put(gsub_val_DOT_json=GQA)
    beside = {"1001_3": {"prediction": 2, "answer": 2}}
    spans = put(val_ground_ada_DOT_json={"1001_3": [0, 10], "1001_5": [5, 6]}, val__res_DOT_json=beside)
    scores, notes = scored("nextgqa", truth, spans)
    assert scores["Acc@GQA"] == 50
    assert "1 answers have no option that can be judged: wrong" in notes
    assert "taken from val-res.json beside the file" in notes
    put(val__res_DOT_json={key: {"prediction": 0, "answer": 0} for key in ("1001_3", "1001_5")})
    assert scored("nextgqa", truth, spans)[0]["Acc@GQA"] == 100, "read anew"


def test_cg_bench_without_options(put, scored):
    truth = put(cgbench_DOT_json=[CG, CG | {"qid": 2}, CG | {"qid": 3}])
    rows = [{"id": f"cg-bench/v/{n}", "answer": text} for n, text in ((1, "0 - 5"), (2, "1 2 3"), (3, "none"))]
    scores, notes = scored("cg-bench", truth, put(p_DOT_jsonl=rows))
    assert set(scores) == {"mIoU", "rec@IoU", *(f"rec@IoU@0.{n}" for n in range(1, 6))}
    # "0 - 5" is 0 and 5; three numbers are left out; a text without numbers is no overlap
    assert (scores["mIoU"], scores["rec@IoU"], scores["rec@IoU@0.5"]) == (0.25, 0.5, 0.5)
    assert "1 answers cannot be read as intervals" in notes
    assert "long_acc and acc@IoU need the options chosen" in notes


@pytest.mark.parametrize(
    ("text", "iou"),
    [
        ('```json\n{"result": null}\n```', 0.0),
        ('```json\n{"result": [[5, 9], [5, 3]]}\n```', 0.4),  # the first of those that start together leads
        ('```json\n{"result": [[5, 3], [5, 9]]}\n```', 0.5),
        ('```json\n{"result": [[0, 2], [1, 4, 9]]}\n```', 0.4),
        ('```json\n{"result": [[0, 2, 9]]}\n```', None),  # three numbers, which are no pairs either
        ('```json\n{"result": [["0", "5"]]}\n```', 0.5),  # by the numbers of the text
        ("[[0, 2], [3, 5]]", 0.4),
        ("0 5 5 10", None),  # the original stops at numbers in twos that touch
        ("", None),
        ("nothing", 0.0),
    ],
)
def test_how_cg_bench_reads(put, scored, text, iou):
    rows = [{"id": "cg-bench/v/1", "answer": text}, {"id": "cg-bench/v/2", "answer": "0 to 10"}]
    scores, _ = scored("cg-bench", put(cgbench_DOT_json=[CG, CG | {"qid": 2}]), put(p_DOT_jsonl=rows))
    assert scores["mIoU"] == pytest.approx(1.0 if iou is None else (iou + 1) / 2)


def test_units_reach_points_and_intervals(put):
    """Answers in milliseconds: VHD's number and CG-Bench's, which no parser of spans reads."""
    for truth, scorer, id_ in ((put(gt_DOT_json=[ET | {"task": "vhd"}]), "et-bench", "et-bench/vhd/s/0"),
                               (put(cg_DOT_json=[CG]), "cg-bench", "cg-bench/v/1")):  # fmt: skip
        annotated = read_ground_truth(truth)
        said = read_matched(put(p_DOT_jsonl=[{"id": id_, "answer": "5000 10000"}]), annotated, unit="milliseconds")
        assert score_as(scorer, annotated, said).flat()[{"et-bench": "vhd s F1"}.get(scorer, "mIoU")] in (1, 0.5)


def test_cg_bench_counts_negative_lengths(put, scored):
    rows = [{"id": "cg-bench/v/1", "spans": [[0, 10], [50, 42]]}]
    scores, notes = scored("cg-bench", put(cgbench_DOT_json=[CG]), put(p_DOT_jsonl=rows))
    assert scores["mIoU"] == 5.0, "10 shared, 10 - 8 + 10 - 10 in all"
    assert "1 answers have an IoU above 1" in notes


def test_didemo_takes_what_a_model_says(put, scored):
    """Seconds are taken for the nearest segment; one segment is no ranking, and that is said."""
    truth = put(val_data_DOT_json=[DIDEMO | {"times": [[1, 1], [1, 1], [1, 1], [0, 5]]}])
    said = put(p_DOT_jsonl=[{"id": "didemo/v/1", "answer": "From 4.6 to 10.3 seconds."}])
    scores, notes = scored("didemo", truth, said)
    assert scores == {"rank@1": 1.0, "rank@5": 1.0, "mIoU": 1.0}
    assert "rank fewer than the 21 segments" in notes
    outside = put(p_DOT_jsonl=[{"id": "didemo/v/1", "spans": [[40, 50]]}])
    scores, notes = scored("didemo", truth, outside)
    assert scores == {"rank@1": 0.0, "rank@5": 0.0, "mIoU": 0.0}
    assert "1 answers name no segment" in notes


def test_hirest_meets_no_threshold_exactly(put, scored):
    """1e-8 in the denominator: half of the moment is less than 0.5."""
    truth = put(val_DOT_json=HIREST)
    for end, hit in ((5, 0.0), (5.1, 100.0)):
        scores, _ = scored("hirest", truth, put(p_DOT_json={"do it. ": {"x/v.mp4": {"bounds": [0, end]}}}))
        assert scores == {"all": {"total_videos": 1, "R@0.5": hit, "R@0.7": 0.0}}


def test_splits_of_a_manifest_without_any(truth, answers):
    found = score_as("charades-cg", truth((0, 10)), answers("0 - 5"))
    assert found.scores == {"all": {"R1@0.3": 100.0, "R1@0.5": 100.0, "R1@0.7": 0.0, "mIoU": 50.0}}
    assert "import the three files together" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"gt_DOT_json": [ET, ET]}, "et-bench/tvg/s/0 is given twice"),
        ({"gt_DOT_json": [{**ET, "tgt": []}]}, "et-bench/tvg/s/0 has no annotated span"),
        ({"gt_DOT_json": [{**ET, "tgt": [9, 3]}]}, "has the span [9, 3]"),
        ({"gt_DOT_json": [{**ET, "tgt": ["0:10", "0:20"]}]}, "a clock time, where seconds were expected"),
        ({"gt_DOT_json": [{**ET, "task": "rar"}]}, "it holds no annotated moments"),
        ({"gsub_val_DOT_json": {"1": {"duration": 9, "location": {"0": [[5, 3]]}}}}, "has the span [5, 3]"),
        ({"gsub_val_DOT_json": {"1": {"duration": 9, "location": {"0": []}}}}, "has no annotated span"),
        ({"gsub_val_DOT_json": {"1": {"duration": 9, "location": [1]}}}, "location"),
        ({"gsub_val_DOT_json": GQA, "val_DOT_csv": CSV.replace("a cat", "a cow", 1)}, "'a cow' is none of the options"),
        ({"cg_DOT_json": [CG | {"right_answer": "C"}]}, "`right_answer` is 'C', and there are 2 `choices`"),
        ({"cg_DOT_json": [CG | {"right_answer": "BB"}]}, "`right_answer` is 'BB'"),
        ({"cg_DOT_json": [CG | {"clue_intervals": []}]}, "clue_intervals"),
        ({"d_DOT_json": [DIDEMO | {"times": [[0, 6]]}]}, "an annotator names a chunk that the video has not"),
        ({"d_DOT_json": [DIDEMO | {"times": [[2, 1]]}]}, "an annotator names a chunk that the video has not"),
        ({"d_DOT_json": [DIDEMO, DIDEMO]}, "didemo/v/1 is given twice"),
        ({"h_DOT_json": {"Do it": {"v.mp4": {"clip": True, "v_duration": 9}}}}, "v.mp4 has a moment but no `bounds`"),
        ({"h_DOT_json": {"q": {"v.mp4": {"clip": True, "v_duration": 9, "bounds": [0, 1]}}}}, "withholds the labels"),
    ],
)  # fmt: skip
def test_annotations_that_are_refused(put, files, reason):
    with pytest.raises(DataError) as refusal:
        read_ground_truth(put(**files))
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"p_DOT_json": [ET]}, "it has no answer, `a`"),
        ({"p_DOT_json": [ET | {"a": 3}]}, "`a`"),
        ({"p_DOT_json": {"1001_3": ["0", "1"]}}, "'1001_3' has no list of times"),
        ({"p_DOT_json": {"1001_3": []}}, "'1001_3' has no list of times"),
        ({"p_DOT_json": {"1001_3": [[0, 1], [2, 3]]}}, "'1001_3' has no list of times"),
        ({"val_ground_DOT_json": {"1001_3": [0, 1]}, "val__res_DOT_json": {"1001_3": 2}}, "not an object"),
        ({"val_ground_DOT_json": {"1001_3": [0, 1]}, "val__res_DOT_json": {"1001_3": {"answer": 2}}}, "prediction"),
        ({"p_DOT_json": {"Do it": {"v.mp4": {"bounds": [1]}}}}, "bounds"),
        ({"p_DOT_json": {"Do it": {"v.mp4": {"bounds": [1, 2]}}, "Do that": 3}}, "'Do that' has no videos"),
        ({"p_DOT_jsonl": [{"id": "a", "answer": "1 - 2", "choice": 3}]}, 'its "choice" is a int, not a text'),
    ],
)
def test_results_that_are_refused(put, truth, files, reason):
    with pytest.raises(DataError) as refusal:
        read_matched(put(**files), truth((0, 10)))
    assert reason in str(refusal.value)


@EVERY_CASE
def test_no_file_ends_in_a_traceback(case, put):
    """Two hundred damaged files of each case: scores, or one sentence."""
    chance = random.Random(case["scorer"])
    refused = scored = 0
    for _ in range(200):
        files = {}
        for kind in ("truth", "predictions"):
            for number, (name, content) in enumerate(case[kind].items()):
                text = "".join(json.dumps(row) + "\n" for row in content) if name.endswith("l") else json.dumps(content)
                if number == 0 and chance.random() < 0.7:
                    start, end = chance.choice([found.span() for found in _VALUE.finditer(text)])
                    text = text[:start] + chance.choice(_JUNK) + text[end:]
                files[kind, name] = text
        paths = {kind: [] for kind in ("truth", "predictions")}
        for (kind, name), text in files.items():
            paths[kind].append(put(**{name.replace("-", "__").replace(".", "_DOT_"): ""}))
            paths[kind][-1].write_text(text)
        try:
            truth = read_ground_truth(paths["truth"][0])
            found = score_as(case["scorer"], truth, read_matched(paths["predictions"][0], truth))
        except DataError:
            refused += 1
        else:
            scored += 1
            json.dumps(found.scores, allow_nan=False)
    assert min(refused, scored) > 20


def test_from_the_command_line(put, capsys):
    """The whole way, and in words: the rule stands below the numbers."""
    truth, said = put(gt_DOT_json=[ET]), put(p_DOT_json=[ET | {"a": "0 - 5"}])
    assert main(["metrics", str(said), "--ground-truth", str(truth), "--as", "et-bench"]) == 0
    told = capsys.readouterr().out
    assert "tvg s F1@0.5" in told
    assert "denominator: rows of the file" in told
    assert main(["metrics", str(said), "--compare", str(said), "--ground-truth", str(truth), "--as", "et-bench"]) == 0
    assert "A - B" in capsys.readouterr().out
    assert main(["metrics", str(said), "--ground-truth", str(truth), "--format", "hirest"]) == 2
    assert "it looks like the format et-bench" in capsys.readouterr().err


def test_hirest_annotations_are_no_predictions(put, scored):
    """Both are objects from queries to videos with `bounds`; annotations against themselves would score 100."""
    truth = put(val_DOT_json=HIREST)
    for layout in (HIREST, json.dumps(HIREST, indent=2)):
        said = put(p_DOT_json=layout)
        with pytest.raises(DataError, match="scored against themselves"):
            scored("hirest", truth, said)
    written = {"bounds": [0, 10], "video_duration": 60.0, "target_bounds": [0, 31]}
    scores, _ = scored("hirest", truth, put(p_DOT_json={"Do it": {"v.mp4": written}}))
    assert scores["all"]["R@0.7"] == 100.0, "what HiREST's own evaluation writes is read"
