"""What the system says of its memory."""

from __future__ import annotations

from video_opd import system_memory
from video_opd.bug_report.machine_facts import _describe_memory
from video_opd.system_memory import read_memory_limit, read_memory_table


def test_sizes_are_in_bytes_and_what_is_not_told_is_not_there(tmp_path, monkeypatch):
    table, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    monkeypatch.setattr(system_memory, "_TABLE", table)
    monkeypatch.setattr(system_memory, "_LIMIT", limit)
    assert (read_memory_table(), read_memory_limit()) == ({}, None)
    assert _describe_memory() == "not known"
    table.write_text("MemTotal:        4194304 kB\nMemAvailable:  1048576 kB\nHugePages_Total:       0\nstrange\n")
    assert read_memory_table() == {"MemTotal": 2**32, "MemAvailable": 2**30}
    for text, found in (("max\n", None), ("2147483648\n", 2**31), ("", None)):
        limit.write_text(text)
        assert read_memory_limit() == found
    limit.write_text("2147483648\n")
    assert _describe_memory() == "1.0 GiB of 4.0 GiB free; the limit of the container is 2.0 GiB"
