"""Tensors that another process of the same machine maps."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from video_opd.host_memory import Offered, is_offer_visible, map_offered, offer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory without a name is Linux's")

READER = """
import sys
from video_opd.host_memory import Offered, map_offered
print(int(map_offered(Offered(*map(int, sys.argv[1:]))).long().sum()))
"""


def test_another_process_reads_what_is_offered():
    tensor = torch.arange(3_000_000).to(torch.uint8)
    offered = offer(tensor)
    assert offered is not None
    command = [sys.executable, "-c", READER, *map(str, offered)]
    assert int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) == int(tensor.long().sum())
    offered.withdraw()
    assert subprocess.run(command, capture_output=True).returncode, "nothing is left once it is withdrawn"


def test_what_is_mapped_outlives_the_offer():
    offered = offer(torch.full((5,), 7, dtype=torch.uint8))
    assert offered is not None
    mapped = map_offered(offered)
    offered.withdraw()
    assert mapped.tolist() == [7] * 5


def test_a_process_of_another_machine_is_recognised():
    content = b"written by the first process"
    offered = offer(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    assert offered is not None
    assert is_offer_visible(offered, content)
    assert not is_offer_visible(offered, b"what the first process wrote"), "its number means another file here"
    assert not is_offer_visible(Offered(offered.process, 10_000, offered.size), content)
    assert not is_offer_visible(offered._replace(size=1 << 30), content)
    offered.withdraw()
