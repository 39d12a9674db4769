"""One small task of lmms-eval on rendered clips, run for real, beside this package's own evaluation of the same clips.

    VIDEO_OPD_LMMS_PYTHON=lmms-env/bin/python python benchmarks/lmms_eval_local_task.py --out runs/lmms-eval

The model is put to lmms-eval twice: as it is, and as a copy whose chat template leaves out what lmms-eval and
transformers 5 put around the question (a system turn; a second pair of vision markers), which the tiny models have
never seen. Prints as JSON how the answers compare, question by question; docs/LMMS_EVAL.md says what came out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

from video_opd.cli import main as video_opd
from video_opd.data import tiny_world
from video_opd.data.manifest import read_manifest, resolve_video
from video_opd.eval.lmms_eval.lmms_results import read_samples
from video_opd.policy.location import resolve_model

TASK = "tiny_world_grounding"


def write_task(folder: Path, manifest: Path, videos: Path) -> Path:
    """A folder for --include-path: the questions of a manifest as a task of lmms-eval."""
    shutil.copytree(Path(__file__).with_name("lmms_eval_task"), folder, dirs_exist_ok=True)
    questions = folder / "questions.jsonl"
    with questions.open("w", encoding="utf-8") as file:
        for example in read_manifest(manifest):
            start_s, end_s = example.spans[0]
            row = {"id": example.id, "video": str(resolve_video(videos, example)), "query": example.query}
            file.write(json.dumps(row | {"start_s": start_s, "end_s": end_s}) + "\n")
    yaml = folder / f"{TASK}.yaml"
    text = yaml.read_text(encoding="utf-8")
    yaml.write_text(text.replace("test: {questions}", f"test: {json.dumps(str(questions.resolve()))}"))
    return folder


def with_plain_template(model: str, folder: Path) -> Path:
    """A copy of a model whose prompts through lmms-eval are those of this package.

    Its template passes over the system turn, and writes the bare video token, since transformers puts markers around
    every pair of frames itself.
    """
    shutil.copytree(resolve_model(model), folder, dirs_exist_ok=True)
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8")
    for old, new in (
        ("{% for message in messages %}", "{% for message in messages if message.role != 'system' %}"),
        ("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>"),
    ):
        if old not in text:
            raise SystemExit(f"{model}: its chat template has no {old}")
        text = text.replace(old, new)
    template.write_text(text, encoding="utf-8")
    return folder


def run(*words: object) -> dict[str, Any]:
    """What one command of video-opd reports, with its seconds."""
    began, said = time.monotonic(), io.StringIO()
    with contextlib.redirect_stdout(said):
        status = video_opd([str(word) for word in (*words, "--json")])
    if status:
        raise SystemExit(status)
    return json.loads(said.getvalue()) | {"wall_s": round(time.monotonic() - began, 1)}


def compare(ours: list[str], theirs: list[str]) -> dict[str, Any]:
    """How many answers are the same to the letter, and the first that are not."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "num_questions": len(pairs),
        "num_same_answer": sum(a == b for a, b in pairs),
        "others": [{"ours": a, "lmms_eval": b} for a, b in pairs if a != b][:3],
    }


def main() -> None:
    """Render, write, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/lmms-eval"))
    parser.add_argument("--model", default="tiny-student")
    parser.add_argument("--questions", type=int, default=100)
    arguments = parser.parse_args()
    out, model = arguments.out, arguments.model

    sizes = {"train": 1, "validation": 1, "test": arguments.questions}
    manifest = tiny_world.build(out / "world", tiny_world.BuildSettings(num_queries=sizes))["test"]
    videos = out / "world" / "videos"
    task = write_task(out / "task", manifest, videos)
    predictions = out / "ours.jsonl"
    report = run("evaluate", model, manifest, "--videos", videos, "--out", predictions, "--device", "cpu",
                 "--precision", "bfloat16")  # fmt: skip
    ours = [json.loads(line)["answer"] for line in predictions.read_text(encoding="utf-8").splitlines()]
    summary: dict[str, Any] = {"model": model, "ours": {"wall_s": report["wall_s"], "scores": report["scores"]}}

    models = {"as-it-is": model, "plain-template": with_plain_template(model, out / "plain-template")}
    for name, each in models.items():
        report = run("evaluate", each, "--with", "lmms-eval", "--tasks", TASK, "--include-path", task,
                     "--out", out / f"lmms-{name}", "--device", "cpu")  # fmt: skip
        samples = sorted(read_samples(Path(report["samples"][TASK]["file"])), key=lambda sample: sample.doc_id)
        answers = compare(ours, [sample.answer for sample in samples])
        summary[name] = {"wall_s": report["wall_s"], "scores": report["scores"][TASK], **answers}
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
