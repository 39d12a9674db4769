"""What the study models are worth, asked as the package asks: on the test queries of the tiny world.

    python scripts/measure_study_models.py --models runs/study-models [--only viewer …]

Every model is asked in short and in long answers about whole clips, and about crops: around the true span, and around
a span of the same length anywhere in the clip. The figures go to `figures.json` beside the models; a model that is in
it is not asked again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tiny_models.architecture import BUDGET
from tiny_models.crops import keep_groups
from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.tiny_world import GRID_S, BuildSettings, build
from video_opd.data.video.picture_folder import read_video
from video_opd.data.video.video_io import Frames
from video_opd.eval.ask import ask_in_batches, greedy_texts, make_batches
from video_opd.eval.evaluate import judge
from video_opd.files.durable import write_durably
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.location import BUNDLED
from video_opd.seeds import generator
from video_opd.types import Example, Prompt, Span

MARGIN_S = 1.0
MAX_NEW_TOKENS = 56


def true_span(example: Example) -> Span:
    """What a perfect annotator would have shown the model."""
    return example.spans[0]


def random_span(example: Example) -> Span:
    """As long as the true span, anywhere in the clip; always the same for one example."""
    length = round((example.spans[0].end_s - example.spans[0].start_s) / GRID_S)
    start = int(generator(0, "random-crop", example.id).integers(round(example.known_duration / GRID_S) - length + 1))
    return Span(start * GRID_S, (start + length) * GRID_S)


@dataclass(frozen=True, kw_only=True)
class View:
    """How a question is put: which wording, and what is shown of the clip."""

    template: str = "tiny"
    around: Callable[[Example], Span] | None = None


VIEWS = {
    "whole": View(),
    "whole, long answer": View(template="tiny-long"),
    "crop": View(around=true_span),
    "random crop": View(around=random_span),
}


def show(frames: Frames, example: Example, view: View) -> Frames:
    """The frames that a view leaves."""
    return keep_groups(frames, [view.around(example)], MARGIN_S) if view.around else frames


def ask(policy: Policy, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Greedy answers, and what they are worth."""
    answer = greedy_texts(policy, MAX_NEW_TOKENS)
    texts: dict[str, str] = {}
    for asked in ask_in_batches(policy, make_batches(prompts, 50), answer):
        texts.update(asked.answers)
    scores = judge(texts, [prompt.example for prompt in prompts], {}).scores
    return {
        "miou": round(scores.miou, 3),
        "r1@0.7": round(scores.r1[0.7], 3),
        "output_format_rate": round(scores.output_format_rate, 3),
        "distinct_answers": len(set(texts.values())),
    }


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path("runs/study-models"))
    parser.add_argument("--only", nargs="*", help="these models")
    arguments = parser.parse_args()
    folder: Path = arguments.models
    torch.set_num_threads(1)
    file = folder / "figures.json"
    figures = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    there = sorted(path.parent.name for path in folder.glob("*/grounding.json"))
    missing = [name for name in arguments.only or [*BUNDLED, *there] if name not in figures]
    world = build(folder / "exam-world", BuildSettings(num_queries={"train": 2, "validation": 2}))
    examples = read_manifest(world["test"])
    prompts: dict[str, list[Prompt]] = {}
    for name in missing:
        policy = load_policy(name if name in BUNDLED else str(folder / name)).freeze()
        if not prompts:
            prompts = render(policy, examples, world["test"].parent / "videos")
        figures[name] = {view: ask(policy, asked) for view, asked in prompts.items()}
        write_durably(file, (json.dumps(figures, indent=2) + "\n").encode())
        print(json.dumps({name: figures[name]}), flush=True)


def render(policy: Policy, examples: Sequence[Example], videos: Path) -> dict[str, list[Prompt]]:
    """The prompts of every view; all models here share one processor."""
    renderers = {
        view.template: PromptRenderer(policy.processor, TEMPLATES[view.template], BUDGET) for view in VIEWS.values()
    }
    budget = replace(BUDGET, pixels_per_token_side=renderers["tiny"].pixels_per_token_side)
    frames = [read_video(videos / example.video, budget) for example in examples]
    return {
        name: [renderers[view.template](one, show(seen, one, view)) for one, seen in zip(examples, frames, strict=True)]
        for name, view in VIEWS.items()
    }


if __name__ == "__main__":
    main()
