"""The GPU benchmark, rehearsed on the CPU in tiny sizes: every section runs to its end and finds what it must."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from video_opd import __version__
from video_opd.train import build as assemble

ROOT = Path(__file__).resolve().parents[1]


def rehearse(out: Path, *sections: str) -> dict[str, Any]:
    """What the sections found; none of them may have failed anywhere."""
    command = [ROOT / "benchmarks" / "gpu" / "run.sh", out, "--rehearse", "--seconds", "280", "--sections", *sections]
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    results = json.loads((out / "results.json").read_text())
    for section in sections:
        assert "trouble" not in results[section], results[section]
        for name, value in results[section].items():
            failed = isinstance(value, dict) and value.keys() & {"error", "left_out", "out_of_memory"}
            assert not failed, (section, name, value)
    assert (out / "results.md").read_text().startswith("# no GPU")
    return results


@pytest.mark.long
@pytest.mark.slow
def test_parity(tmp_path):
    results = rehearse(tmp_path, "environment", "parity")
    gaps = [value for name, value in results["environment"].items() if name.endswith("largest difference")]
    assert [gap < limit for gap, limit in zip(gaps, (0.02, 1e-4), strict=True)] == [True, True]
    found = results["parity"]
    assert found["student: float32"]["gradient_relative_difference"] == 0.0  # the reference is computed in the same way
    assert 0 < found["student: bfloat16 arithmetic"]["logprob_gap_mean"] < 0.01
    for name, limit in (("float32", 1e-4), ("bfloat16 arithmetic", 0.05)):
        for answers in ("", ", 4 answers"):
            assert found[f"shared against plain{answers}: {name}"]["gradient_relative_difference"] < limit
        assert found[f"repeatability: {name}"]["bit_equal"]
    before, after = found["training: float32"]["exact_reverse_kl_on_fixed_states"].values()
    assert after < before


@pytest.mark.long
@pytest.mark.slow
def test_answers_together(tmp_path):
    found = rehearse(tmp_path, "together")["together"]
    assert {"one by one", "together", "one by one, checkpointed", "together, checkpointed"} <= found.keys()
    assert all(value["seconds"] > 0 for name, value in found.items() if name.startswith(("one", "together")))


@pytest.mark.long
@pytest.mark.slow
def test_real_size_and_token_loop(tmp_path):
    found = rehearse(tmp_path, "real-size", "token-loop", "large-step")
    steps = {name: value for name, value in found["real-size"].items() if " together" in name}
    assert {name.split(", ")[0] for name in steps} == {"opd", "opd-exact", "grpo"}
    for name, value in steps.items():
        phases = {"answer", "teacher", "score", "backward", "step"} | ({"read"} if ", shared" in name else set())
        assert phases <= value["phases"].keys()
        assert sum(value["phases"][phase] for phase in phases) <= value["seconds"] * 1.5
    assert found["real-size"]["gradients at real size"]["gradient_relative_difference"] < 0.05
    assert all(value["tokens_per_second"] > 0 for name, value in found["token-loop"].items() if "answers" in name)
    check_large_step(found["large-step"])


def check_large_step(found: dict[str, Any]) -> None:
    """An adapter and a whole language model, each by both paths; shares follow from FLOPs, seconds and the ceiling."""
    for case in ("small, LoRA", "small, language model"):
        ours, plain = found[f"{case}, ours"], found[f"{case}, plain"]
        assert found[f"{case}, models"]["trained_parameters"] > 0
        assert ours["share_of_ceiling"]["step"] == pytest.approx(ours["tflop"] / ours["seconds"])
        assert set(ours["share_of_ceiling"]) == {"read", "answer", "teacher", "score", "backward", "step"}
        assert found[f"{case}, goals"]["is_fast_enough"] is False
        assert found[f"{case}, ours / plain"]["seconds"] == pytest.approx(ours["seconds"] / plain["seconds"])
        assert plain["seconds"] == pytest.approx(sum(plain["phases"].values()), rel=0.5)
    trained = {case: found[f"small, {case}, models"]["trained_parameters"] for case in ("LoRA", "language model")}
    assert trained["LoRA"] < trained["language model"]


@pytest.mark.long
@pytest.mark.slow
def test_command(tmp_path):
    found = rehearse(tmp_path, "command")["command"]
    assert found["killed"]["after"] == "step-000001"
    assert found["killed"]["exit_status"] == -9
    assert found["whole against resumed"]["model/model.safetensors"]["bit_equal"]
    assert len(found["steps"]["rows"]) == 3


def test_a_run_needs_no_installed_package(monkeypatch):
    """Only its dependencies: on a borrowed machine the source folder is all there is."""

    def version(name: str) -> str:
        if name == "video-opd":
            raise PackageNotFoundError(name)
        return installed(name)

    installed = assemble.version
    monkeypatch.setattr(assemble, "version", version)
    assert assemble.describe_environment()["video-opd"] == __version__
