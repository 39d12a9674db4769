from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from video_opd.cli import main
from video_opd.data.manifest import write_manifest
from video_opd.data.query_words import timelens as clean_query
from video_opd.data.video.video_names import video_name
from video_opd.errors import DataError
from video_opd.eval.scorers import (
    RESULT_FORMATS,
    SCORERS,
    GroundTruth,
    find_unit_evidence,
    read_ground_truth,
    read_matched,
    read_with_truth,
    score_as,
)
from video_opd.eval.scorers._keys import QueryKey, parse_key
from video_opd.eval.scorers._result_files import recognise_format
from video_opd.grounding.time_units import UNITS
from video_opd.types import Example, Span

QVH = {"qid": 7, "query": "a dog", "duration": 10, "vid": "abcdefghijk_0.0_9.0", "relevant_windows": [[0, 4]],
       "relevant_clip_ids": [0, 1], "saliency_scores": [[1, 2, 3], [4, 4, 4]]}  # fmt: skip
VUE = {"query_id": 3, "video_id": "x", "duration": 10.0, "query": "a dog", "gt": [[0, 4], [6, 7]],
       "task": "temporal_retrieval", "duration_category": "long", "query_format": "phrase",
       "query_modality": "audio"}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """A file of JSON: of lines, or of one value."""

    def make(name: str, *values: object, lines: bool = True) -> Path:
        path = tmp_path / name
        text = "\n".join(json.dumps(value) for value in values) + "\n" if lines else json.dumps(values[0], indent=1)
        path.write_text(text)
        return path

    return make


@pytest.fixture
def annotated(truth):
    """Queries a, b, c of videos/a.mp4 …; their queries and spans differ."""
    return truth((0, 4), (1.5, 4), (2, 4))


# Keys


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("v_B.mp4>>>A man walks>>>[0.0, 4.0]", QueryKey("v_B", "A man walks", (0.0, 4.0))),
        ("C:\\charades\\3MSZA.mp4>>>a man>>>[0, 4]", QueryKey("3MSZA", "a man", (0.0, 4.0))),
        ("charades/3MSZA.mp4>>>a  man.>>>[[0.0, 4]]", QueryKey("3MSZA", "a man", (0.0, 4.0))),
        ("a.mp4>>>x >>> y>>>(1, 2)", QueryKey("a", "x >>> y", (1.0, 2.0))),
        ("a.mp4>>>x>>>[[1, 2], [3, 4]]", QueryKey("a", "x", (1.0, 2.0))),
        ("N_210.0_360.0>>>x>>>[1, 2]", QueryKey("N_210.0_360.0", "x", (1.0, 2.0))),
        ("a.mp4>>>x", None),
        ("a.mp4>>>[1, 2]", None),
        ("a.mp4>>>x>>>[1]", None),
        ("a.mp4>>>x>>>[1, 2, 3]", None),
        ('a.mp4>>>x>>>["1", "2"]', None),
        ("a.mp4>>>x>>>[1, 1e999]", None),
        ("a.mp4>>>x>>>[1, NaN]", None),
        ("a.mp4>>>x>>>__import__('os').abort()", None),
        ("a.mp4>>>x>>>" + "[" * 9_000, None),
        ("a.mp4>>>x>>>[1, " + "9" * 5_000 + "]", None),
        ("a.mp4>>>x>>>[1, " + "9" * 400 + "]", None),
        ("a.mp4>>>x>>>[1, 2" + " " * 20_000 + "]", None),
        ("", None),
    ],
)
def test_keys(text, key):
    assert parse_key(text) == key


def test_names_and_queries_as_the_field_writes_them():
    paths = ("a/b/c.mp4", "c.webm", "c.avi", "c", "c.3gp", "c_1.0", "c_1.0.mp4", "c_1.25")
    assert [video_name(path) for path in paths] == ["c"] * 5 + ["c_1.0"] * 2 + ["c_1.25"]
    assert clean_query(" A  man\n walks. ") == "A man walks"
    assert clean_query("...wait.. ") == "wait"


# Formats


def test_ours(write, annotated):
    path = write("p.jsonl", {"id": "b", "answer": "1 - 4"}, {"id": "zz", "answer": ""}, {"id": "a", "spans": [[4, 0]]})
    found = read_matched(path, annotated)
    assert (found.format, list(found.by_id), found.unknown) == ("ours", ["b", "a"], ("zz",))
    assert found.by_id["b"].text == "1 - 4"
    assert found.by_id["a"].spans == ((4.0, 0.0),), "as it stands, for whoever scores it"


TIMELENS = {
    "a.mp4>>>query a>>>[0, 4]": {"timestamps": [[0.0, 3.0]], "answers": "0 - 3.4", "duration": 10},
    "else/b.mp4>>> query  b. >>>[[1.5, 4.0]]": {"answers": "1 - 4"},
    "c.mp4>>>another query>>>[2.0, 4.0]": {"timestamps": []},
}


@pytest.mark.parametrize("form", ["object", "lines", "wide lines", "list"])
def test_timelens(write, annotated, form):
    path = {
        "object": lambda: write("r.json", TIMELENS, lines=False),
        "lines": lambda: write("r.jsonl", *({key: value} for key, value in TIMELENS.items())),
        "wide lines": lambda: write("r.jsonl", TIMELENS),
        "list": lambda: write("r.json", [{key: value} for key, value in TIMELENS.items()], lines=False),
    }[form]()
    found = read_matched(path, annotated)
    assert found.format == "timelens"
    assert list(found.by_id) == ["a", "b"]
    assert (found.by_id["a"].spans, found.by_id["a"].text) == (((0.0, 3.0),), "0 - 3.4")
    assert (found.by_id["b"].spans, found.by_id["b"].text) == (None, "1 - 4")
    assert found.unknown == ("c.mp4>>>another query>>>[2.0, 4.0]",)


def test_a_manifest_of_lower_case_queries(write, annotated):
    path = write("r.json", {"a.mp4>>>Query A.>>>[0, 4]": {"answers": "1 - 4"}}, lines=False)
    found = read_matched(path, annotated)
    assert (list(found.by_id), found.notes) == (["a"], ())


def test_the_case_decides_between_two_queries(write, annotated):
    first, second, _ = annotated.examples
    both = replace(annotated, examples=(first, replace(second, video=first.video, query="Query a", spans=first.spans)))
    keys = {"a.mp4>>>query a>>>[0, 4]": {"answers": "1 - 4"}, "a.mp4>>>Query a>>>[0, 4]": {"answers": "2 - 4"}}
    found = read_matched(write("r.json", keys, lines=False), both)
    assert {id_: answer.text for id_, answer in found.by_id.items()} == {"a": "1 - 4", "b": "2 - 4"}


def test_a_key_whose_span_was_clipped_on_import(write, annotated):
    path = write("r.json", {"a.mp4>>>query a>>>[0, 4.5]": {"answers": "1 - 4"}}, lines=False)
    found = read_matched(path, annotated)
    assert list(found.by_id) == ["a"]
    assert found.unknown == ()
    assert found.notes == (
        "1 keys name another span than the manifest: matched by video and query; were spans clipped on import?",
    )


def test_the_span_decides_where_video_and_query_do_not(write, annotated):
    """Of two spans of one query the manifest has only one, or both and neither is the file's."""
    rows = {"a.mp4>>>query a>>>[0, 4]": {"answers": "1 - 4"}, "a.mp4>>>query a>>>[6, 9]": {"answers": "6 - 9"}}
    for order in (1, -1):
        path = write("r.json", dict(list(rows.items())[::order]), lines=False)
        found = read_matched(path, annotated)
        assert (found.by_id["a"].text, found.unknown) == ("1 - 4", ("a.mp4>>>query a>>>[6, 9]",))
    first = annotated.examples[0]
    twice = replace(annotated, examples=(first, replace(first, id="again", spans=(Span(6.0, 9.0),))))
    path = write("r.json", {"a.mp4>>>query a>>>[0, 4.5]": {"answers": "1 - 4"}}, lines=False)
    found = read_matched(path, twice)
    assert not found.by_id
    with pytest.raises(DataError, match=r"1 predictions, such as 'a.mp4>>>query a.*none of them belongs to"):
        score_as("timelens", twice, found)


def test_a_file_mostly_about_other_queries(write, annotated):
    rows = {
        f"{video}.mp4>>>query {video}>>>[{start}, 4]": {"answers": "1 - 4"} for video, start in (("a", 0), ("x", 0))
    }
    assert read_matched(write("r.json", rows, lines=False), annotated).notes == (), "half of them is not most"
    rows["y.mp4>>>query y>>>[0, 4]"] = {"answers": "1 - 4"}
    (note,) = read_matched(write("r.json", rows, lines=False), annotated).notes
    assert note.startswith("2 of 3 rows are about no annotated query and count nowhere: give the annotations")


def test_keys_that_come_twice_collapse(tmp_path, annotated):
    """Also where they are only written differently; the last one counts."""
    key = "a.mp4>>>query a>>>[0, 4]"
    path = tmp_path / "r.json"
    path.write_text(f'{{"{key}": "1 - 2", "{key}": "2 - 3", "x/{key}": "3 - 4"}}')
    found = read_matched(path, annotated)
    assert found.by_id["a"].text == "3 - 4"
    assert "2 rows of the file are for a query that another row is for" in " ".join(found.notes)


def test_a_separator_within_a_query(write, annotated):
    """The official scorer splits at every one of them and stops."""
    odd = replace(
        annotated, examples=(replace(annotated.examples[0], query="press >>> twice"), *annotated.examples[1:])
    )
    path = write("r.json", {"a.mp4>>>press >>> twice>>>[0, 4]": {"timestamps": [[0, 4]]}}, lines=False)
    found = read_matched(path, odd)
    assert found.by_id["a"].spans == ((0.0, 4.0),)
    assert "the official scorer crashes here" in " ".join(found.notes)


def test_annotations_that_hold_a_query_twice(write, annotated):
    """Both get the one answer of a keyed file; TimeLens then counts it once."""
    twice = replace(annotated, examples=(annotated.examples[0], replace(annotated.examples[0], id="again")))
    path = write("r.json", {"a.mp4>>>query a>>>[0, 4]": {"timestamps": [[0, 2]]}}, lines=False)
    found = read_matched(path, twice)
    assert list(found.by_id) == ["a", "again"]
    assert len(score_as("timelens", twice, found).per_query["mIOU"]) == 1


def test_lmms_eval(write, annotated):
    path = write(
        "s.json", {"videos/a.mp4>>>query a>>>[[0, 4]]": "1 - 4", "b.mp4>>>query b>>>[1.5, 4]": ""}, lines=False
    )
    found = read_matched(path, annotated)
    assert (found.format, found.by_id["a"].text, found.by_id["b"].text) == ("lmms-eval", "1 - 4", "")


def test_the_samples_that_lmms_eval_logs(write, annotated):
    """Every metric holds the answer under its key."""
    rows = [
        {"doc_id": number, "target": "[[0, 4]]", "filtered_resps": ["1 - 4"], "doc_hash": "x", "input": "Please find"}
        | {f"timelens_{metric}": {f"videos/{name}.mp4>>>query {name}>>>[[{start}, 4]]": "1 - 4"}
           for metric in ("IOU@3", "mIOU")}
        for number, (name, start) in enumerate([("a", 0), ("b", 1.5)])
    ]  # fmt: skip
    found = read_matched(write("x_samples_timelens_charades.jsonl", *rows), annotated)
    assert (found.format, list(found.by_id), found.notes) == ("lmms-eval", ["a", "b"], ())


def test_qvhighlights(write):
    truth = read_ground_truth(write("highlight_val_release.jsonl", QVH, QVH | {"qid": 8}))
    assert [example.id for example in truth.examples] == [
        "qvhighlights/abcdefghijk_0.0_9.0/7",
        "qvhighlights/abcdefghijk_0.0_9.0/8",
    ]
    assert truth.saliency["qvhighlights/abcdefghijk_0.0_9.0/7"] == (
        (1, 2, 3),
        (4, 4, 4),
        (0, 0, 0),
        (0, 0, 0),
        (0, 0, 0),
    )
    path = write(
        "s.jsonl",
        {"qid": "7", "pred_relevant_windows": [[0, 4, 0.5]], "pred_saliency_scores": [0, 1.5]},
        {"qid": 9, "pred_relevant_windows": [[0, 4]]},
    )
    found = read_matched(path, truth)
    answer = found.by_id["qvhighlights/abcdefghijk_0.0_9.0/7"]
    assert (found.format, found.unknown) == ("qvhighlights", ("9",))
    assert (answer.spans, answer.confidences, answer.saliency) == (((0.0, 4.0),), (0.5,), (0.0, 1.5))


def test_vue_tr(write):
    truth = read_ground_truth(write("gt.json", [VUE], lines=False))
    (example,) = truth.examples
    assert (example.id, example.spans) == ("vue-tr/x/3", ((0.0, 4.0), (6.0, 7.0)))
    assert truth.categories == {"vue-tr/x/3": ("long", "phrase", "audio")}
    found = read_matched(write("r.json", [{"query_id": 3, "answer": [[1, 2.5]]}], lines=False), truth)
    assert (found.format, found.by_id["vue-tr/x/3"].spans) == ("vue-tr", ((1.0, 2.5),))
    for empty in ([], [[]]):
        found = read_matched(write("r.json", [{"query_id": 3, "answer": empty}], lines=False), truth)
        assert found.by_id["vue-tr/x/3"].spans == ()


def test_what_an_import_only_counts_is_no_reason_to_refuse(write):
    truth = read_ground_truth(write("gt.json", [VUE | {"query": "a \x1bcat"}], lines=False))
    assert truth.examples[0].query == "a \x1bcat"


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_is_told_by_its_content_whatever_its_name(write, tmp_path, indent):
    truth = read_ground_truth(write("gt.json", [VUE], lines=False))
    (tmp_path / "r.jsonl").write_text(json.dumps([{"query_id": 3, "answer": [[1, 2.5]]}], indent=indent))
    found = read_matched(tmp_path / "r.jsonl", truth)
    assert (found.format, found.by_id["vue-tr/x/3"].spans) == ("vue-tr", ((1.0, 2.5),))


@pytest.mark.parametrize("lines", [True, False])
def test_ego4d_nlq(write, tmp_path, lines):
    """From the official annotations, imported, to the official numbers of a submission."""
    query = {"query": "Where was the knife?", "clip_start_sec": 2.0, "clip_end_sec": 12.0}
    clip = {
        "clip_uid": "c1",
        "video_start_sec": 5,
        "video_end_sec": 485,
        "annotations": [{"annotation_uid": "u-1", "language_queries": [query, query | {"clip_end_sec": 4.0}]}],
    }
    nlq = write("nlq_val.json", {"videos": [{"video_uid": "v", "split": "val", "clips": [clip]}]}, lines=False)
    assert main(["data", "import", "ego4d-nlq", str(nlq), "--out", str(tmp_path / "m.jsonl")]) == 0
    row = {"clip_uid": "c1", "annotation_uid": "u-1"}
    rows = [
        row | {"query_idx": 1, "predicted_times": [[50.0, 60.0], [2.0, 4.0]]},
        row | {"query_idx": 0, "predicted_times": [[2.0, 8.0, 0.9]]},
    ]
    submission = {"version": "1.0", "challenge": "ego4d_nlq_challenge", "results": rows}
    truth = read_ground_truth(tmp_path / "m.jsonl")
    found = read_matched(write("s.json", submission, lines=lines), truth)
    assert (found.format, found.unknown, len(found.by_id)) == ("ego4d-nlq", (), 2)
    scores = score_as("ego4d-nlq", truth, found).scores
    assert (scores["Rank@1 mIoU@0.5"], scores["Rank@3 mIoU@0.5"], scores["mIoU"]) == (50.0, 100.0, 30.0)
    submission["results"] = [rows[0] | {"clip_uid": "c2"}]
    with pytest.raises(DataError, match="query id u-1_1 is about video c2 in the file and c1 in the annotations"):
        read_matched(write("s.json", submission, lines=lines), truth)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("s.jsonl", {"qid": 3, "pred_relevant_windows": [[0, 4]], "vid": "X", "query": "Query  a."}),
        ("r.jsonl", {"query_id": 3, "answer": [[0, 4]], "video_id": "X", "query": "Query  a."}),
    ],
)
def test_an_id_about_another_video(write, annotated, name, row):
    """An id says little: another release of a data set numbers its queries anew."""
    truth = replace(annotated, examples=(replace(annotated.examples[0], id="d/3", video="videos/X.mp4"),))
    assert read_matched(write(name, row), truth).notes == ()
    reworded = read_matched(write(name, row | {"query": "another"}), truth)
    assert reworded.notes == ("1 rows word their query otherwise than the annotations: matched by id and video.",)
    other = replace(truth, examples=(replace(truth.examples[0], video="Y.mp4"),))
    with pytest.raises(DataError, match="query id 3 is about video X in the file and Y in the annotations"):
        read_matched(write(name, row), other)


def test_an_id_that_two_examples_end_in(write, annotated):
    examples = [replace(annotated.examples[0], id=f"{folder}/3") for folder in ("vue-tr/x", "qvhighlights/y")]
    path = write("r.json", [{"query_id": 3, "answer": [[1, 2.5]]}], lines=False)
    with pytest.raises(DataError, match="'3': the annotations have it 2 times, as vue-tr/x/3 and qvhighlights/y/3"):
        read_matched(path, replace(annotated, examples=tuple(examples)))


@pytest.mark.parametrize("id_", ["d/3", "3"])
def test_an_id_may_be_whole_or_the_end_of_one(write, annotated, id_):
    """Somebody who writes a submission from our manifest has our ids; the official annotations have only the end."""
    truth = replace(annotated, examples=tuple(replace(annotated.examples[0], id=name) for name in ("d/3", "d/d/4")))
    for name, row in (("s.jsonl", {"qid": id_, "pred_relevant_windows": [[0, 4]]}),
                      ("r.jsonl", {"query_id": id_, "answer": [[0, 4]]})):  # fmt: skip
        assert list(read_matched(write(name, row), truth).by_id) == ["d/3"]


SAMPLES = {
    "ours": [{"id": "a", "answer": "1 - 4"}],
    "timelens": [{"a.mp4>>>query a>>>[0, 4]": {"answers": "1 - 4"}}],
    "lmms-eval": [{"a.mp4>>>query a>>>[0, 4]": "1 - 4"}],
    "qvhighlights": [{"qid": "a", "pred_relevant_windows": [[0, 4]]}],
    "vue-tr": [{"query_id": "a", "answer": [[0, 4]]}],
    "ego4d-nlq": [{"version": "1.0", "challenge": "ego4d_nlq_challenge", "results": [
        {"clip_uid": "a", "annotation_uid": "a", "query_idx": 0, "predicted_times": [[0, 4], [5, 6, 0.1]]}]}],
    "time-r1": [{"qid": "charades_0", "pred": [0, 4], "target": [0, 4], "duration": 100.0, "output_text": "0 to 4"}],
    "timechat": [{"0": {"timestamp": [[0, 4]], "query": "query a", "vid": "a.mp4"}}],
    "trace": [{"0": {"timestamp": [0, 4], "query": "what the model wrote", "vid": "a.mp4"}}],
    "museg": [{"video": "c/a.mp4", "question": "When is this: query a.", "groundtruth": [[0, 4]], "result": {
        "output": "0-4", "conversation": ["user: <video>", "assistant: <answer>0-4</answer>"]}}],
    "vtimellm": [{"video_id": "a", "task": "grounding", "query_id": 0, "answer": "from 00 to 04.",
                  "info": {"sentence_id": 0, "iou": 1.0}}],
    "videochat-r1": [{"video_path": "a.mp4", "query": "query a", "answer": "<answer>0 to 4</answer>",
                      "timestamp": [0, 4], "iou": 1.0, "ans": [0, 4]}],
    "videomind": [{"video_path": "v/a.mp4", "query": "query a", "duration": 100.0, "span": [[0, 4]],
                   "pred": [[0.0, 4.0], [5, 6]], "conf": [0.9, 0.1], "agents": ["grounder"]}],
    "unitime": [{"qid": 0, "id": "a", "annos": [{"query": "query a", "window": [[0, 4]]}], "duration": 100.0,
                 "pred_relevant_windows": [[0.0, 4.0]], "pred_relevant_windows_mr_seg": None}],
    "et-bench": [{"task": "tvg", "source": "s", "idx": 0, "tgt": [0, 4], "a": "0 - 4"}],
    "nextgqa": [{"12_3": [0, 4]}],
    "hirest": [{"query a": {"a.mp4": {"bounds": [0, 4]}}}],
}  # fmt: skip


def test_results_of_something_else_are_no_submission(write):
    assert recognise_format(write("x.json", {"results": {"a": 1}}, lines=False)) is None
    assert recognise_format(write("x.json", {"results": []}, lines=False)) == "ego4d-nlq"


def test_the_format_is_told_by_the_content(write):
    assert [*SAMPLES] == [*RESULT_FORMATS]
    assert {name: recognise_format(write("x.jsonl", *rows)) for name, rows in SAMPLES.items()} == {
        name: name for name in RESULT_FORMATS
    }


@pytest.mark.parametrize("said", RESULT_FORMATS)
@pytest.mark.parametrize("given_", RESULT_FORMATS)
def test_a_wrong_format_says_which_one_it_looks_like(write, annotated, said, given_):
    path = write("x.jsonl", *SAMPLES[given_])
    if said == given_:
        id_ = {"ego4d-nlq": "a_0", "et-bench": "tvg/s/0", "nextgqa": "12/3"}.get(said, "a")
        truth = replace(annotated, examples=(replace(annotated.examples[0], id=id_),))
        assert list(read_matched(path, truth, said).by_id) == [id_]
    else:
        with pytest.raises(DataError, match=f"not in the format {said}: it looks like the format {given_}"):
            read_matched(path, annotated, said)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b"hello", "begins neither with"),
        ("x.jsonl", b'{"a.mp4>>>q>>>[0, 4]": {"timestamps": [[0, NaN]]}}', "line 1: NaN"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"answers": "1"}, "b', "line 1: .*ends"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"answers": "1 \xe9"}}', "0xe9 is not UTF-8"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"answers": 4}}', "line 1: `answers` is 4"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"duration": 4}}', "neither `timestamps` nor `answers`"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"timestamps": [[0, true]]}}', "timestamps.0.1"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"timestamps": [[0, NaN]]}}', "NaN"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"timestamps": [0, 1]}}', "timestamps.0"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"answers": ""},\n "b.mp4>>>q": {"answers": ""}}', "line 2: the key"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": "",\n "b.mp4>>>q>>>[0, 4]": null}', "line 2: the answer is not a text"),
        ("x.json", b'{"a.mp4>>>q>>>[0, 4]": {"answers": ""},\n "b.mp4>>>q>>>[0, 4]": null}', "line 2: "),
        ("x.jsonl", b'{"qid": 1, "pred_relevant_windows": [[0, 4, 1], [0, 4]]}', "some of its windows have a score"),
        ("x.jsonl", b'{"qid": 1, "pred_relevant_windows": [[0]]}', "pred_relevant_windows.0"),
        ("x.jsonl", b'{"qid": 1}', "neither `pred_relevant_windows`"),
        ("x.jsonl", b'{"qid": 1.5, "pred_relevant_windows": []}', "qid"),
        ("x.jsonl", b'{"qid": 1, "pred_relevant_windows": []}\n[1]', "line 2: "),
        ("x.jsonl", b'{"a.mp4>>>q>>>[0, 4]": ""}\n{"id": "a", "answer": ""}', "line 2: its keys are 'id', 'answer'"),
        ("x.json", b'[{"query_id": 1, "answer": "0 - 4"}]', "answer"),
        ("x.json", b'[{"query_id": 1, "answer": [[0, 4]]}, {"query_id": 2}]', "`answer` is missing"),
        ("x.json", b'{"version": "1.0", "results": {}}', "`results` is not a list"),
        ("x.json", b'{"challenge": "",\n "results": [{"clip_uid": "a"}]}', "line 2: .*annotation_uid"),
        ("x.json", b'{"version": "1.0"}', "it holds no predictions"),
        ("x.jsonl", b'{"foo": 1}', "first row has the keys `foo`: it has no \"id\", and no other format"),
        ("x.jsonl", b'{"qid": "a_1", "pred": [0, "x"], "target": [0, 1]}', "pred.0.1"),
        ("x.jsonl", b'{"qid": "a_1", "output_text": null, "target": [0, 1]}', "neither `output_text` nor `pred`"),
        ("x.json", b'{"0": {"timestamp": 4, "query": "q", "vid": "a"}}', "timestamp"),
        ("x.json", b'[{"video": "a", "question": "q", "groundtruth": [], "result": {}}]', "result.output"),
        ("x.jsonl", b'{"video_id": "a", "task": "grounding", "answer": "", "query_id": 0}', "no `info.sentence_id`"),
        ("x.jsonl", b'{"id": "a", "answer": 4}', '"answer" is a int'),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_in_one_sentence(tmp_path, annotated, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        read_matched(tmp_path / name, annotated)
    assert name in str(refused.value)


def test_annotations_that_cannot_be_used(write, tmp_path):
    withheld = {key: value for key, value in QVH.items() if key != "relevant_windows"}
    for name, rows, message in (
        (
            "t.jsonl",
            [QVH, withheld],
            "line 2: it has no `relevant_windows`: the annotations of this split are withheld",
        ),
        ("t.jsonl", [QVH, QVH], "line 2: the id is taken"),
        ("t.jsonl", [QVH | {"relevant_clip_ids": [0, 5]}], "clip 5 is not in a video of 5 clips"),
        ("t.jsonl", [QVH | {"relevant_clip_ids": [0]}], "1 `relevant_clip_ids` and 2 `saliency_scores`"),
        ("t.jsonl", [QVH | {"saliency_scores": [[1], [1, 2]]}], "different numbers of annotators"),
        ("t.jsonl", [QVH | {"relevant_windows": [[4, 0]]}], "line 1: .*it ends before it begins"),
        ("t.jsonl", [QVH | {"relevant_windows": []}], "line 1: .*no span is annotated"),
        ("t.jsonl", [VUE | {"gt": [[0, "4 s"]]}], "gt.0.1"),
        ("t.jsonl", [VUE, VUE], "line 2: the id is taken"),
        ("t.jsonl", ["text"], "not a JSON object"),
    ):
        with pytest.raises(DataError, match=message):
            read_ground_truth(write(name, *rows))
    with pytest.raises(DataError, match="No such file"):
        read_ground_truth(tmp_path / "nowhere.jsonl")


def test_an_empty_file_holds_no_predictions(tmp_path, annotated):
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(DataError, match="0 predictions: none of them belongs to an annotated query"):
        score_as("timelens", annotated, read_matched(tmp_path / "x.jsonl", annotated))


def test_an_original_file_and_its_manifest_give_the_same_scores(write, tmp_path):
    truth = read_ground_truth(write("gt.json", [VUE, VUE | {"query_id": 4, "query": "a cat"}], lines=False))
    write_manifest(tmp_path / "manifest.jsonl", truth.examples)
    manifest = read_ground_truth(tmp_path / "manifest.jsonl")
    assert manifest.examples == truth.examples
    path = write("r.json", [{"query_id": 3, "answer": [[0, 5]]}, {"query_id": 4, "answer": [[6, 7]]}], lines=False)
    overall = [score_as("vue-tr", found, read_matched(path, found)).scores["overall"] for found in (truth, manifest)]
    assert overall[0] == overall[1]


# Whatever is written into these files, it is a score or one sentence

TRUTH = GroundTruth(
    examples=tuple(
        Example(id=id_, video="a.mp4", query="q", spans=(Span(0.0, 4.0), Span(6.0, 9.0)), duration=10.0)
        for id_ in ("a", "x/1", "x/2")
    )
)

KEY = "a.mp4>>>q>>>[0, 4]"
VALUES = [
    "null", "true", "0", "1", "2", "-1", "1.5", "1e308", "1e999", "NaN", "-Infinity", "9" * 25, "9" * 5000, "0.1e-400",
    '"a"', '"1"', '""', '"x/1"', '"\\ud800"', '"\ud800"', '"é"', '"a', "[" * 3000 + "]" * 3000, "[", "]", "{", "}", ",",
    '"1 - 4"', '"[[1, 2]]"', '"<answer>1 to 2</answer>"', f'"{"9" * 400} - 5"', '"0:01 - 0:02"', '"[[0, 1e308]]"',
    "[]", "[[]]", "[0, 4]", "[[0, 4]]", "[[4, 0]]", "[[0, 4, 1]]", "[[0, 4], [1, 2, 3]]", '[["0", "4"]]', "[[0, null]]",
    "[[-1e308, 1e308]]", "[[0, 0]]", "[[6, 9], [0, 4], [0, 4]]", "[[[0, 4]]]", "[0.5, 1, 2]", '{"a": [1]}', "{}",
    '{"timestamps": [[0, 4]]}', '{"answers": "1 - 4"}', '{"timestamps": [], "answers": null}', '{"timestamps": 4}',
    f'{{"{KEY}": "1 - 4"}}', f'{{"{KEY}": {{"answers": ""}}}}', '{">>>>>>": 1}', '{"a": 1, "a": 2}',
]  # fmt: skip
ROWS = [
    '{"id": %s, "answer": %s}', '{"id": %s, "spans": %s}', '{"id": "a", "answer": %s, "spans": %s}',
    '{"qid": %s, "pred_relevant_windows": %s}', '{"qid": 1, "pred_relevant_windows": %s, "pred_saliency_scores": %s}',
    '{"query_id": %s, "answer": %s}', '{"query_id": 1, "answer": %s}%s', '[{"query_id": 2, "answer": %s}, %s]',
    f'{{"{KEY}": {{"timestamps": %s, "answers": %s}}}}', f'{{"{KEY}": %s, "b.mp4>>>q>>>[0, 4]": %s}}',
    '{"a.mp4>>>q>>>q>>>%s": %s}', '{"x>>>y": %s, "z": %s}', '{"doc_id": %s, "timelens_mIOU": %s}', "%s%s", "[%s, %s]",
    '{"qid": %s, "output_text": %s, "target": [0, 4]}', '{"qid": "c_0", "pred": %s, "target": %s}',
    '{"0": {"timestamp": %s, "query": "q", "vid": %s}, "1": {}}', '{"vname": "a", "generated_cap": %s, "id": %s}',
    '{"video": "a.mp4", "id": 0, "captions": [], "timestamps": %s}%s', '{"0": {}, %s: {"timestamp": %s}}',
    '{"video": "a", "question": "q", "groundtruth": %s, "result": {"output": %s}}', '{"video_path": %s, "pred": %s}',
    '{"video_id": "a", "task": "grounding", "answer": %s, "info": {"sentence_id": %s}}',
    '{"video_path": "a", "query": "q", "answer": %s, "ans": %s}',
    '{"video_path": "a", "query": "q", "conf": %s, "pred": %s}',
    '{"qid": 1, "id": "a", "annos": %s, "pred_relevant_windows": %s}',
    '{"qid": 1, "id": "a", "annos": [{"query": "q", "window": %s}], "pred_relevant_windows": %s}',
    '{"id": %s,\n"answer": %s}', '{"qid": %s, "vid": %s}', "\ufeff%s\n%s",
]  # fmt: skip
value = st.sampled_from(VALUES)
row = st.builds(lambda form, one, other: form % (one, other), st.sampled_from(ROWS), value, value)


def damaged(text: str, at: int, length: int, put: str) -> str:
    return text[:at] + put + text[at + length :]


line = row | st.text(max_size=20) | st.builds(damaged, row, st.integers(0, 40), st.integers(0, 3), st.text(max_size=2))


MALFORMED = given(
    st.lists(line, min_size=5, max_size=6), st.sampled_from([None, None, *RESULT_FORMATS]), st.sampled_from([*SCORERS])
)


@pytest.mark.long
@settings(max_examples=1_820, deadline=None, database=None)
@MALFORMED
def test_ten_thousand_malformed_lines_never_give_a_traceback(tmp_path_factory, lines, format, scorer):
    try_lines(tmp_path_factory, lines, format, scorer)


@settings(max_examples=300, deadline=None, database=None)
@MALFORMED
def test_a_malformed_line_never_gives_a_traceback(tmp_path_factory, lines, format, scorer):
    try_lines(tmp_path_factory, lines, format, scorer)


def try_lines(tmp_path_factory, lines, format, scorer) -> None:
    """Each line as a file of its own, then all as one."""
    folder = tmp_path_factory.getbasetemp()
    for number, text in enumerate([*lines, "\n".join(lines)]):
        path = folder / ("x.json" if number % 2 else "x.jsonl")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = score_as(scorer, TRUTH, read_matched(path, TRUTH, format))
        except DataError as error:
            refusal = str(error)
        else:
            refusal = "x.json"
            assert all(value == value for value in found.flat().values()), "no score is NaN"
        assert "x.json" in refusal


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("times", ["[[0, 1e308]]", "[[1e308, 1.7e308], [0, 1e308]]", "1e308 s - 1.7e308 s"])
def test_times_too_large_for_a_float_in_seconds_are_scored(tmp_path, scorer, unit, times):
    """A unit multiplies them: 1e308 minutes are more seconds than a float holds."""
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"qid": "a", "output_text": times, "target": [0, 4]}))
    try:
        truth, found = read_with_truth(path, unit=unit, fps=0.001)
        scores = score_as(scorer, truth, found).flat()
    except DataError as error:
        scores, refusal = {}, str(error)
    else:
        refusal = "x.jsonl"
    assert "x.jsonl" in refusal
    assert all(value == value for value in scores.values()), "no score is NaN"


@settings(max_examples=1_000, deadline=None, database=None)
@given(st.lists(line, min_size=1, max_size=3), st.sampled_from([*SCORERS]), st.sampled_from([None, *UNITS]))
@example(lines=['{"qid": "a", "output_text": "[[0, 1e308]]", "target": [0, 4]}'], scorer="vue-tr", unit="minutes")
def test_malformed_annotations_in_results_never_give_a_traceback(tmp_path_factory, lines, scorer, unit):
    path = tmp_path_factory.getbasetemp() / "x.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        truth, found = read_with_truth(path, unit=unit, fps=2.0)
        find_unit_evidence(truth, found)
        scores = score_as(scorer, truth, found).flat()
    except DataError as error:
        refusal = str(error)
    else:
        refusal = "x.jsonl"
        assert all(value == value for value in scores.values()), "no score is NaN"
    assert "x.jsonl" in refusal


@settings(max_examples=400, deadline=None, database=None)
@given(line, st.sampled_from([QVH, VUE]), st.sampled_from([*QVH, *VUE]), value, st.booleans())
@example(line="", good=QVH, key="duration", value="null", own=True)
def test_malformed_annotations_never_give_a_traceback(tmp_path_factory, line, good, key, value, own):
    path = tmp_path_factory.getbasetemp() / "t.jsonl"
    text = json.dumps(good | {key: "?"}).replace('"?"', value) if own else line
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        truth = read_ground_truth(path)
    except DataError as error:
        refusal = str(error)
    else:
        refusal = "t.jsonl"
        assert truth.examples
    assert "t.jsonl" in refusal
