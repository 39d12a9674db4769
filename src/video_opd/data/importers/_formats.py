"""The names of the formats, and where each is read. Imports nothing, so that `--help` can list them."""

FORMATS = {
    "activitynet": "database.read",
    "activitynet-captions": "activitynet_captions.read",
    "activitynet-cg": "cg_splits.read_activitynet",
    "cg-bench": "cg_bench.read",
    "charades-sta": "charades_sta.read",
    "charades-cg": "cg_splits.read_charades",
    "coin": "database.read",
    "cosmo-cap": "cosmo_cap.read",
    "csv": "generic.read_csv",
    "didemo": "didemo.read",
    "ego4d-nlq": "ego4d_nlq.read",
    "hirest": "hirest.read",
    "hirest-steps": "hirest.read_steps",
    "howto-interlink": "cosmo_cap.read",
    "internvid-vtime": "internvid_vtime.read",
    "json": "generic.read_jsonl",
    "jsonl": "generic.read_jsonl",
    "moments": "moments.read",
    "museg": "museg.read",
    "nextgqa": "nextgqa.read",
    "queryd": "queryd.read",
    "qvhighlights": "qvhighlights.read",
    "sft": "sft.read",
    "tacos": "tacos.read",
    "time-r1": "time_r1.read",
    "timelens-100k": "timelens_100k.read",
    "timelens-bench": "timelens_bench.read",
    "timelens2": "timelens2.read",
    "tvgbench": "tvgbench.read",
    "unitime": "unitime.read",
    "video-opd": "video_opd.read",
    "vue-tr": "vue_tr.read",
    "youcook2": "database.read",
}
"""Name -> module and function."""
GENERIC = ("csv", "json", "jsonl")
"""Anybody's own files, whose columns and units are said by options."""
GENERAL = (*GENERIC, "moments", "sft", "video-opd")
CONVERSATIONS = ("sft", "video-opd")
"""Whose queries stand within questions."""
"""What a file is not called where a data set's own format reads it."""

ANNOTATORS = ("consensus", "majority", "mean", "all")
"""What several annotators of DiDeMo amount to; see `didemo`."""
UNITS = ("seconds", "milliseconds", "frames", "percent", "fraction", "clock")
"""Of the times of `csv` and `jsonl`."""
BEYOND = ("keep", "clip", "drop")
"""What becomes of spans that end after their video."""
QUERIES = ("as-is", "trim", "timelens", "time-r1", "quoted", "ego4d")
"""What is done to the words of a query; see `video_opd.data.query_words`."""
