"""A page of a long run stays small: 5,000 steps and 2,500 examples in ten rounds."""

from __future__ import annotations

from pathlib import Path

from test_curriculum_report import counted, write_round
from test_report import answer_row, metrics_row, write_evaluation, write_lines
from test_timelines import query, write_timelines

from video_opd.report import write_report
from video_opd.report.run.video_frames import MOST_BYTES

MOST_OF_A_PAGE = 5_000_000


def test_a_long_run_makes_a_small_page(tmp_path: Path) -> None:
    kl = {region: {"mean": 0.1} for region in ("digits", "format", "end")}
    rows = [
        metrics_row(step, reverse_kl=0.5 + step % 7, entropy=0.1 * (step % 5), reverse_kl_by_region=kl)
        | counted(step, 9, 7, step % 3)
        for step in range(1, 5001)
    ]
    write_lines(tmp_path / "metrics.jsonl", rows)
    write_lines(tmp_path / "answers.jsonl", [answer_row(step, f"q{step % 99}") for step in range(1, 5001, 5)])
    for step in range(0, 5001, 50):
        write_evaluation(tmp_path, f"validation-{step:06d}", 0.5, step, split="validation")
    for number in range(1, 11):
        write_round(tmp_path, number, kinds={"anchor": 10, "frontier": 20})
    selection = [
        {"id": f"x{n}", "tau": n % 100 / 100, "sigma": n * 7 % 100 / 100, "kept": n < 500, "why": f"no {n / 1000:.3f}"}
        for n in range(2500)
    ]
    write_lines(tmp_path / "rounds" / "10" / "selection.jsonl", selection)
    write_timelines(tmp_path, *(query(f"q{n}", "a.mp4", ("improved", "hurt", "random")[n % 3]) for n in range(16)))
    size = len(write_report(tmp_path).read_bytes())
    assert size + MOST_BYTES < MOST_OF_A_PAGE / 2
