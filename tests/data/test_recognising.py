"""Whatever is given for a manifest is called what it is, by every command that reads one."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from video_opd.data.manifest import check_manifest, read_manifest
from video_opd.errors import DataError

MOMENT = {"qid": 1, "query": "q", "duration": 150, "vid": "abcdefghijk_60.0_210.0", "relevant_windows": [[2, 4]]}
FILES = {
    "qvhighlights": json.dumps(MOMENT) + "\n",
    "charades-sta": "3MSZA 24.3 30.4##person turn a light on.\n",
    "csv": "video,query,start,end,duration\na.mp4,q,1,2,9\n",
    "vue-tr": json.dumps([{"query_id": 0, "video_id": "a", "duration": 9, "query": "q", "gt": [[1, 2]]}], indent=1),
}


@pytest.mark.parametrize("command", ["stats", "check"])
@pytest.mark.parametrize("format", FILES)
def test_annotations(tmp_path, refused, command, format):
    (tmp_path / "a.jsonl").write_text(FILES[format])
    sentence = refused("data", command, tmp_path / "a.jsonl")
    assert f"a.jsonl is not a manifest: it looks like annotations in the format {format}" in sentence
    assert f"`video-opd data import {format} " in sentence


@pytest.mark.parametrize("command", ["stats", "check"])
def test_predictions(tmp_path, refused, command):
    (tmp_path / "p.jsonl").write_text('{"id": "a", "answer": "1 - 2", "spans": [[1, 2]]}\n')
    sentence = refused("data", command, tmp_path / "p.jsonl")
    assert "p.jsonl is not a manifest: it is a file of predictions" in sentence
    assert "Rename" not in sentence


@pytest.mark.parametrize("fault", [{"qeury": 1}, {"duration": -1}, {"answer": "1 - 2"}])
def test_a_manifest_with_a_fault_is_a_manifest(tmp_path, fault):
    row = {"id": "a", "video": "a.mp4", "query": "q", "spans": [[1, 2]], "duration": 9} | fault
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"m\.jsonl, line 1"):
        read_manifest(tmp_path / "m.jsonl")
    assert check_manifest(tmp_path / "m.jsonl")


def test_a_pipe_is_read_once(tmp_path):
    """A second look would wait for somebody who writes into it again."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"echo '{{}}' > '{pipe}'"]):
        assert check_manifest(pipe)
