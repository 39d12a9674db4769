# ruff: noqa: E501  (rows are kept on one line)
"""Made-up rows in the formats of the field, a few a format, and what is to be read from the first."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """Files of one format."""

    format: str
    files: dict[str, str | bytes]
    """Name -> content, in the order they are given."""
    first: dict[str, object]
    """What the first row of the manifest must have."""
    count: int = 2
    """Rows in all."""


CHARADES_CSV = "id,subject,length\nABC12,P1,30.5\nXYZ99,P2,12\n"
UID = "0123abcd-0000-1111-2222-0123456789ab"


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def by_video(video: str, **more: object) -> str:
    entry = {"duration": 30.5, "timestamps": [[2.0, 4.5], [0, 30.5]], "sentences": ["  A cat sits.", "It stays."]}
    return json.dumps({video: entry | more})


def moment(vid: str, qid: object = 7) -> dict[str, object]:
    return {"qid": qid, "query": "a cat sits", "duration": 150, "vid": vid, "relevant_windows": [[2, 4], [10, 20]]}


ASKED = (
    "Please find the visual event described by the sentence '{}', determining its starting and ending times. The format "
    "should be: 'The event happens in <start time> - <end time> seconds'."
)
EVENT = {"vid": "abcdefghijk", "duration": 54.2, "query": "a cat sits", "span": [2, 9.4]}
EGO4D = {
    "version": "1",
    "videos": [
        {
            "video_uid": UID,
            "split": "val",
            "clips": [
                {
                    "clip_uid": UID[::-1],
                    "video_start_sec": 100.0,
                    "video_end_sec": 580.0,
                    "clip_start_sec": 0.0,
                    "clip_end_sec": 480.0,
                    "annotations": [
                        {
                            "annotation_uid": "u1",
                            "language_queries": [
                                {"query": "Where is the cat?", "clip_start_sec": 12.0, "clip_end_sec": 14.5},
                                {"query": None, "clip_start_sec": 12.0, "clip_end_sec": 14.5},
                                {"query": "Who is it?", "clip_start_sec": 1, "clip_end_sec": 4, "template": "x"},
                            ],
                        }
                    ],
                }
            ],
        }
    ],
}
DIDEMO = {"num_segments": 6, "description": "the cat is shown", "video": "1@N0_2_a.mov", "annotation_id": 9}
TIMER1 = {
    "video": "./x/videos/abcdefghijk.mp4", "duration": 93.25, "timestamp": [1.0, 4.0], "sentence": "A cat sits.",
    "qid": "my|cosmo|abcdefghijk|A cat sits.", "video_start": None, "video_end": None, "difficulty": 50.0,
}  # fmt: skip
TVG = {"path": "./x/ABC12.mp4", "question": "a cat sits.", "answer": "13.4-28.1", "start": None, "end": None}

SAMPLES = [
    Sample(
        "charades-sta",
        {"sta.txt": "  ABC12 2.0 4.5##a cat sits. \r\n\nXYZ99 0.0 14##a cat ## jumps.\n", "durations.csv": CHARADES_CSV},
        {"id": "charades-sta/ABC12/0", "video": "ABC12.mp4", "query": "a cat sits. ", "spans": ((2, 4.5),), "duration": 30.5},
    ),
    Sample(
        "charades-sta", {"sta.json": by_video("ABC12")},
        {"video": "ABC12.mp4", "query": "  A cat sits.", "spans": ((2, 4.5),), "duration": 30.5},
    ),
    Sample(
        "charades-sta",
        {"ood.json": '{"ABC12": {"video_duration": 9, "framestamps": [[24, 40]], "decode_fps": 16.0, "sentences": ["a cat"]}}'},
        {"spans": ((1.5, 2.5),), "duration": 9}, 1,
    ),
    Sample("charades-sta", {"l.jsonl": lines(moment("ABC12"), moment("XYZ99", 8))}, {"id": "charades-sta/ABC12/7"}),
    Sample(
        "charades-cg",
        {
            "novel_word.json": by_video("ABC12", news=[{"DET": ["all"]}, {"NOUN": ["cat"]}]),
            "test_trivial.json": by_video("ABC12"),
            "renamed.json": by_video("XYZ99", novels=[{"v-n": [["sits", "cat"]]}, {}]),
        },
        {"id": "charades-cg/novel-word/ABC12/0", "source": "charades-cg/novel-word", "query": "  A cat sits."}, 6,
    ),
    Sample(
        "activitynet-cg", {"novel_composition.json": by_video("v_abcdefghijk", novels=[{}, {}])},
        {"id": "activitynet-cg/novel-composition/v_abcdefghijk/0", "spans": ((2, 4.5),)},
    ),
    Sample(
        "cg-bench",
        {"cgbench_mini.json": json.dumps([
            {"qid": qid, "video_uid": "abcdefghijk", "question": "Who sits?", "answer": "a cat", "choices": ["a cat", "a dog"],
             "right_answer": "A", "clue_intervals": [[8, 11], [20.5, 30]], "duration": 2741} for qid in (14, 19)])},
        {"id": "cg-bench/abcdefghijk/14", "query": "Who sits?", "spans": ((8, 11), (20.5, 30)), "duration": 2741},
    ),
    Sample("activitynet-captions", {"val_1.json": by_video("v_abcdefghijk")}, {"video": "v_abcdefghijk.mp4"}),
    Sample(
        "qvhighlights",
        {"val.jsonl": lines(moment("abcdefghijk_60.0_210.0"), moment("abcdefghijk_60.0_210.0", 8))},
        {
            "id": "qvhighlights/abcdefghijk_60.0_210.0/7", "video": "abcdefghijk_60.0_210.0.mp4",
            "spans": ((2, 4), (10, 20)), "duration": 150, "clip": None,
        },
    ),
    Sample(
        "tacos",
        {"test.json": by_video("s30-d52.avi", fps=10, num_frames=400)},
        {"id": "tacos/s30-d52/0", "video": "s30-d52.avi", "spans": ((0.2, 0.45),), "duration": 40},
    ),
    Sample("tacos", {"l.jsonl": lines(moment("s30-d52", "s30-d52_0"))}, {"id": "tacos/s30-d52/s30-d52_0"}, 1),
    Sample(
        "didemo",
        {"val.json": json.dumps([DIDEMO | {"times": [[1, 1], [1, 1], [1, 1], [0, 0]]}, DIDEMO | {"times": [[5, 5]], "annotation_id": 10}])},
        {"id": "didemo/1@N0_2_a/9", "video": "1@N0_2_a.mov", "spans": ((5, 10),), "duration": 30},
    ),
    Sample(
        "hirest",
        {"val.json": json.dumps({"Feed a Cat": {
            "abcdefghijk.mp4": {"relevant": True, "clip": True, "v_duration": 207.5, "bounds": [50, 121], "steps": []},
            "bbbbbbbbbbb.mp4": {"relevant": True, "clip": False, "v_duration": 20},
            "ccccccccccc.mp4": {"relevant": False, "clip": False, "v_duration": 20},
        }})},
        {"query": "Feed a Cat", "video": "abcdefghijk.mp4", "spans": ((50, 121),), "duration": 207.5}, 1,
    ),
    Sample(
        "hirest-steps",
        {"val.json": json.dumps({"Feed a Cat": {"abcdefghijk.mp4": {
            "relevant": True, "clip": True, "v_duration": 207.5, "bounds": [50, 121],
            "steps": [{"index": 0, "heading": "open the tin", "absolute_bounds": [50, 58]},
                      {"index": 1, "heading": "call the cat", "absolute_bounds": [58, 121]}],
        }}})},
        {"query": "open the tin", "spans": ((50, 58),)},
    ),
    Sample(
        "queryd",
        {
            "captions.pkl": pickle.dumps({"video-abcdefghijk": [["a", "cat", "sits"], ["it", "sleeps"]]}),
            "times.pkl": pickle.dumps({"video-abcdefghijk": [[3.2, 9.0], [9.5, 9.5]]}),
            "durations.json": '{"abcdefghijk": 44.5}',
        },
        {"id": "queryd/abcdefghijk/0", "query": "a cat sits", "spans": ((3.2, 9.0),), "duration": 44.5},
    ),
    Sample("internvid-vtime", {"e.jsonl": lines(EVENT, EVENT)}, {"spans": ((2, 9.4),), "duration": 54.2}),
    Sample(
        "internvid-vtime",
        {"stage2.json": json.dumps([{
            "id": "abcdefghijk", "source": "internvid",
            "conversations": [{"from": "human", "value": "What?"},
                              {"from": "gpt", "value": "From <s0> to <e0>, a cat sits. From <s1> to <e1>, it sleeps."}],
            "meta": {"split": [129.8, 184.0], "duration": 54.2,
                     "token": {"<s0>": 0, "<e0>": 9.4, "<s1>": 10, "<e1>": 54.2}},
        }])},
        {"query": "a cat sits", "spans": ((0, 9.4),), "clip": (129.8, 184.0), "duration": 54.2},
    ),
    Sample("howto-interlink", {"e.jsonl": lines(EVENT, EVENT)}, {"id": "howto-interlink/abcdefghijk/0"}),
    Sample("cosmo-cap", {"e.jsonl": lines(EVENT, EVENT)}, {"id": "cosmo-cap/abcdefghijk/0"}),
    Sample(
        "ego4d-nlq", {"nlq_val.json": json.dumps(EGO4D)},
        {"query": "Where is the cat?", "spans": ((12, 14.5),), "duration": 480, "video": f"{UID[::-1]}.mp4"},
    ),
    Sample(
        "ego4d-nlq",
        {"v.jsonl": lines({"vid": UID, "query": "Where is the cat?", "duration": 480.0, "relevant_windows": [[12, 14]]})},
        {"query": "Where is the cat?", "spans": ((12, 14),)}, 1,
    ),
    Sample(
        "ego4d-nlq",
        {"t.jsonl": lines({"video_id": UID, "query_id": "7", "query": "query text: Where is it?", "duration": 480.0,
                           "timestamps": [[12, 14]]})},
        {"id": f"ego4d-nlq/{UID}/7", "query": "Where is it?"}, 1,
    ),
    Sample(
        "vue-tr",
        {"gt.json": json.dumps([{"query_id": number, "video_id": "abcdefghijk", "duration": 3884.0, "query": "a cat",
                                 "gt": [[946, 953], [1000, 1001]]} for number in (0, 1)])},
        {"id": "vue-tr/abcdefghijk/0", "spans": ((946, 953), (1000, 1001))},
    ),
    Sample(
        "tvgbench",
        {"tvg.json": json.dumps([TVG | {"duration": 30.1, "dataset_name": "charades"},
                                 TVG | {"duration": 99.4, "start": 53.0, "end": 152.4}])},
        {"id": "tvgbench/charades/ABC12/0", "video": "ABC12.mp4", "spans": ((13.4, 28.1),), "source": "tvgbench/charades"},
    ),
    Sample(
        "time-r1",
        {"train.json": json.dumps([TIMER1, TIMER1 | {"video": "a/abcdefghijk_00:00:39:000_00:01:24:700.mp4",
                                                     "video_start": 39.0, "video_end": 84.7}])},
        {"id": "time-r1/cosmo/abcdefghijk/0", "spans": ((1, 4),), "clip": None},
    ),
    Sample(
        "museg",
        {"stage_1.jsonl": lines(
            {"idx": 0, "problem": "Find 'a cat sits' in it.", "solution": [[0.2, 7], [9, 12]],
             "video": "videos/hacs/abcdefghijk.mp4", "duration": 80.0, "task": "tal"},
            {"idx": 1, "problem": "Find 'a dog'.", "solution": [[0, 12.4]], "video": "videos/charades/ABC12.mp4", "task": "tvg"},
        ), "durations.csv": CHARADES_CSV},
        {"id": "museg/hacs/abcdefghijk/0", "query": "Find 'a cat sits' in it.", "spans": ((0.2, 7), (9, 12))},
    ),
    Sample(
        "timelens-bench",
        {"charades-timelens.json": json.dumps({"ABC12": {"duration": 30.5, "spans": [[2, 4.5], [5, 9]], "queries": ["A cat.", "A dog."]}})},
        {"id": "timelens-bench/charades/ABC12/0", "video": "ABC12.mp4", "query": "A cat.", "spans": ((2, 4.5),)},
    ),
    Sample(
        "timelens-100k",
        {"t.jsonl": lines({"source": "didemo", "video_path": "didemo/a.mp4", "duration": 30.0,
                           "events": [{"query": "a cat", "span": [[1, 4]]}, {"query": "a dog", "span": [5, 6]}]})},
        {"id": "timelens-100k/didemo/a/0", "video": "didemo/a.mp4", "query": "a cat", "spans": ((1, 4),)},
    ),
    Sample(
        "timelens-100k",
        {"f.jsonl": lines({"source": "didemo", "video_path": "didemo/a.mp4", "duration": 30.0, "query": "a cat",
                           "span": [[1, 4]], "pred": [[1, 3]], "iou": 0.66})},
        {"query": "a cat", "spans": ((1, 4),)}, 1,
    ),
    Sample(
        "timelens2",
        {"raw.jsonl": lines({"video_id": "abc", "annotations": [{"text": "a cat", "timestamps": [[1, 4], [9, 12]]},
                                                               {"text": "a dog", "timestamps": [[5, 6]]}]}),
         "durations.json": '{"abc.mp4": {"duration": 30}}'},
        {"id": "timelens2/abc/0", "query": "a cat", "spans": ((1, 4), (9, 12)), "duration": 30},
    ),
    Sample(
        "timelens2",
        {"g.jsonl": lines({"source": "timelens2_93k", "video_path": "abc.mp4", "duration": 30.0,
                           "events": [{"query": "a cat", "span": [[1, 4], [9, 12]]}]})},
        {"spans": ((1, 4), (9, 12))}, 1,
    ),
    Sample(
        "moments", {"m.jsonl": lines(moment("a002_60_120"), moment("a002_60_120", "q8"))},
        {"id": "moments/a002_60_120/7", "video": "a002_60_120.mp4", "spans": ((2, 4), (10, 20)), "duration": 150},
    ),
    Sample(
        "moments", {"m.json": json.dumps([{k: v for k, v in moment("a").items() if k != "duration"}])},
        {"spans": ((2, 4), (10, 20)), "duration": None}, 1,
    ),
    Sample("activitynet-captions", {"a.jsonl": lines(moment("v_abcdefghijk"))}, {"id": "activitynet-captions/v_abcdefghijk/7"}, 1),
    Sample(
        "activitynet",
        {"anet.json": json.dumps({"version": "1.3", "taxonomy": [{"nodeId": 1}], "database": {
            "abcdefghijk": {"duration": 82.5, "subset": "training", "resolution": "320x240", "annotations": [
                {"segment": [6.25, 77.5], "label": "Drinking coffee"}, {"segment": [1, 2], "label": "Archery"},
                {"segment": [78, 80], "label": "Drinking coffee"}]},
            "bbbbbbbbbbb": {"duration": 9, "subset": "testing", "annotations": []},
        }}, indent=1)},
        {"id": "activitynet/abcdefghijk/0", "query": "Drinking coffee", "spans": ((6.25, 77.5), (78, 80)), "duration": 82.5},
    ),
    Sample(
        "coin",
        {"COIN.json": json.dumps({"database": {"abcdefghijk": {
            "duration": 131.5, "class": "ChangeCarTire", "start": 56.6, "end": 85.7, "subset": "training", "recipe_type": 13,
            "annotation": [{"id": "259", "segment": [60.0, 69.0], "label": "unscrew the screw"},
                           {"id": "260", "segment": [71.0, 82.0], "label": "jack up the car"}]}}})},
        {"id": "coin/abcdefghijk/0", "query": "unscrew the screw", "spans": ((60, 69),), "duration": 131.5},
    ),
    Sample(
        "youcook2",
        {"yc2.json": json.dumps({"database": {"abcdefghijk": {
            "duration": 241.5, "subset": "validation", "recipe_type": "113",
            "annotations": [{"segment": [90, 102], "id": 0, "sentence": "spread the butter"},
                            {"segment": [114, 127], "id": 1, "sentence": "add the cheese"}]}}})},
        {"query": "spread the butter", "spans": ((90, 102),)},
    ),
    Sample(
        "unitime",
        {"u.json": json.dumps([
            {"qid": 0, "id": "ABC12", "annos": [{"query": "a cat", "window": [[2, 4], [6, 9]]}], "duration": 30.5,
             "video_path": "./videos/ABC12.mp4", "mode": "mr"},
            {"qid": 1, "id": "ABC12", "annos": [{"query": "a dog", "window": [[12, 14]]}], "duration": 10.0, "mode": "mr",
             "video_start": 10, "video_end": 20},
        ])},
        {"id": "unitime/ABC12/0", "video": "ABC12.mp4", "spans": ((2, 4), (6, 9)), "duration": 30.5},
    ),
    Sample(
        "nextgqa",
        {"val.csv": "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
                    "123,900,640,480,why did the boy run,to win,1,CW,a,b,c,d,e\n"
                    "123,900,640,480,\"where, then, is he\",home,2,CW,a,b,c,d,e\n",
         "gsub_val.json": json.dumps({"123": {"duration": 30, "location": {"1": [[1.5, 4], [6, 9]], "2": [[20, 30]]}, "fps": 29.97}})},
        {"id": "nextgqa/123/1", "video": "123.mp4", "query": "why did the boy run", "spans": ((1.5, 4), (6, 9)), "duration": 30},
    ),
    Sample(
        "nextgqa",
        {"val.json": json.dumps([{"id": "123_1", "video": "1104/123.mp4", "question": "why did the boy run", "options": ["(A) a"],
                                  "duration": 30, "glue": [[1.5, 4], [6, 9]], "type": "CW", "answer": "(A)"}])},
        {"id": "nextgqa/123/1", "video": "1104/123.mp4", "query": "why did the boy run", "spans": ((1.5, 4), (6, 9))}, 1,
    ),
    Sample(
        "museg",
        {"thumos15.json": json.dumps([{"video": "thumos15/v_1.mp4", "question": "Find all of: 'a cat'.", "groundtruth": [[44.0, 50.9]]}] * 2, indent=4)},
        {"id": "museg/thumos15/v_1/0", "spans": ((44, 50.9),), "duration": None},
    ),
    Sample(
        "json",
        {"own.json": json.dumps([{"video": "k/a.mp4", "query": "a cat", "spans": [[2, 4], [6, 9]], "duration": 31.2},
                                 {"video": "k/a.mp4", "query": "a dog", "start": 1, "end": 2, "duration": 31.2}], indent=1)},
        {"id": "json/a/0", "video": "k/a.mp4", "spans": ((2, 4), (6, 9))},
    ),
    Sample(
        "sft",
        {"s.jsonl": lines(
            {"messages": [{"role": "system", "content": "You are helpful."},
                          {"role": "user", "content": "<video>" + ASKED.format("a cat sits")},
                          {"role": "assistant", "content": "The event happens in 2.0 - 4.5 seconds."}], "videos": ["k/a.mp4"]},
            {"conversations": [{"from": "human", "value": "<video>\n" + ASKED.format("a dog")},
                               {"from": "gpt", "value": "The event happens in 5 - 6 seconds."}], "video": "k/b.mp4"},
        )},
        {"id": "sft/a/0", "video": "k/a.mp4", "query": "a cat sits", "spans": ((2, 4.5),), "duration": None},
    ),
    Sample(
        "video-opd",
        {"train.json": json.dumps([
            {"messages": [{"role": "user", "content": "<video>" + ASKED.format("a cat sits")},
                          {"role": "assistant", "content": "The event happens in 2.0 - 4.5 seconds."}],
             "videos": ["/mnt/x/TimeLens-100K/videos/didemo/a.mp4"]},
            {"video": "videos/queryd/b.mp4", "video_filename": "b.mp4", "subset": "queryd", "system_prompt": "",
             "user_query": ASKED.format("a dog"), "assistant_response": "The event happens in 5 - 6 seconds.", "messages": "[]"},
        ])},
        {"id": "video-opd/didemo/a/0", "video": "didemo/a.mp4", "source": "video-opd/didemo", "query": "a cat sits", "spans": ((2, 4.5),)},
    ),
    Sample(
        "csv",
        {"own.csv": "video,query,start,end,duration\na.mp4,a cat sits,2.0,4.5,31.2\nb.mp4,\"a dog, barking\",0,1,9\n"},
        {"id": "csv/a/0", "video": "a.mp4", "query": "a cat sits", "spans": ((2, 4.5),), "duration": 31.2},
    ),
    Sample(
        "jsonl",
        {"own.jsonl": lines({"video": "k/a.mp4", "query": "a cat", "spans": [[2, 4], [6, 9]], "duration": 31.2, "id": "q1"},
                            {"video": "k/a.mp4", "query": "a dog", "start": 1, "end": 2, "duration": 31.2})},
        {"id": "jsonl/a/q1", "video": "k/a.mp4", "spans": ((2, 4), (6, 9))},
    ),
]  # fmt: skip


def write(sample: Sample, folder: Path) -> tuple[list[Path], Path | None]:
    """The annotation files, and the durations file if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sample.files.items():
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    durations = [folder / name for name in sample.files if name.startswith("durations")]
    return [folder / name for name in sample.files if not name.startswith("durations")], next(iter(durations), None)
