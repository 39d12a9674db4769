# ruff: noqa: E501  (samples are kept on one line)
"""The kinds of text files that commands read: small valid files of each, and what reads them. `fuzz_texts.py` uses it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
for _folder in ("data/importers", "eval/scorers", "eval", "report"):  # the samples of the tests
    sys.path.insert(0, str(ROOT / "tests" / _folder))

Read = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of text."""

    name: str
    files: dict[str, bytes]
    """Everything in the folder, by its path there."""
    spoiled: tuple[str, ...]
    """Those of the files that are spoiled, one at a time."""
    make_reads: Callable[[Path], list[Read]]
    """Takes the folder; gives what reads the files, each raising a `UserError` or nothing."""


def make_lines(*rows: Any) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def make_commands(*commands: str) -> Callable[[Path], list[Read]]:
    """Commands that read the files; `@` stands for the folder. Each command line is parsed once, and run many times."""

    def make(folder: Path) -> list[Read]:
        from video_opd.cli.application import understand

        calls = [understand([word.replace("@", str(folder)) for word in command.split()]) for command in commands]
        return [lambda call=call: call.run({}) for call in calls]

    return make


MANIFEST = make_lines(
    {"id": "a", "video": "v/a.mp4", "query": "a red cat sits", "spans": [[1.0, 2.0]], "duration": 10.0, "source": "s",
     "clip": None},
    {"id": "b", "video": "v/b.mp4", "query": "a dog", "spans": [[1.0, 2.5], [3, 4]], "duration": 9.5, "source": "t",
     "clip": [2.0, 11.5]},
    {"id": "c", "video": "v/c", "query": "it \u00e9nds", "spans": [[0, 2]], "frame_rate": 5},
)  # fmt: skip
PREDICTIONS = make_lines(
    {"id": "a", "answer": "From 1 to 2.5 seconds", "spans": [[1.0, 2.5]]},
    {"id": "b", "spans": [[1, 2], [3, 4]], "choice": "B"},
    {"id": "c", "answer": "1:02 - 1:05"},
)


def list_kinds() -> Iterator[Kind]:
    """Every kind of text."""
    yield Kind(
        name="manifest",
        files={"m.jsonl": MANIFEST, "other.jsonl": MANIFEST.replace(b'"a"', b'"z"'), "p.jsonl": PREDICTIONS},
        spoiled=("m.jsonl",),
        make_reads=make_commands(
            "data check @/m.jsonl", "data check @/m.jsonl --json", "data stats @/m.jsonl", "data stats @/m.jsonl --json",
            "data split @/m.jsonl --out @/parts --parts x=0.5 y=0.5", "data sample @/m.jsonl --count 2 --out @/s.jsonl",
            "data merge @/m.jsonl @/other.jsonl --out @/all.jsonl", "data overlap @/m.jsonl @/other.jsonl --json",
            "metrics @/p.jsonl --ground-truth @/m.jsonl", "data stats @/m.jsonl --picture @/s.html",
        ),
    )  # fmt: skip
    yield Kind(
        name="predictions",
        files={"m.jsonl": MANIFEST, "p.jsonl": PREDICTIONS, "q.jsonl": PREDICTIONS},
        spoiled=("p.jsonl",),
        make_reads=make_commands(
            "metrics @/p.jsonl --ground-truth @/m.jsonl", "metrics @/p.jsonl --ground-truth @/m.jsonl --json",
            "metrics @/p.jsonl --ground-truth @/m.jsonl --compare @/q.jsonl",
            "metrics @/p.jsonl --ground-truth @/m.jsonl --as timelens",
            "metrics @/p.jsonl --ground-truth @/m.jsonl --as timechat --unit percent",
        ),
    )  # fmt: skip
    yield _make_scores()
    yield _make_selection()
    yield _make_recipe()
    yield _make_comparison_recipe()
    yield _make_run()
    yield _make_comparison()
    yield _make_state()
    yield from _list_results()
    yield from _list_annotations()
    yield from _list_benchmarks()


def _make_scores() -> Kind:
    def answer(start: float, iou: float, **more: Any) -> dict[str, Any]:
        return {"text": f"{start} - 4", "span": [start, 4.0], "iou": iou, "logprob": -0.5, "num_tokens": 5,
                "sampled": True} | more  # fmt: skip

    def scores(model: str, up: float) -> bytes:
        head = {"format": 1, "model": model, "model_sha256": model, "manifest_sha256": "m", "settings": {"seed": 0},
                "num_examples": 3, "shard": [0, 1]}  # fmt: skip
        rows = [
            {"id": id, "mean_iou": 0.5, "agreement": 0.9,
             "answers": [answer(1.0 + n, 0.1 * n + up, reverse_kl=0.5) for n in range(2)] + [answer(2.0, up) | {"span": None}],
             "spans": [[1.0, 4.0]], "duration": 10.0, "source": "s", "seconds": 0.5, "cpu_seconds": 0.4}
            for n, id in enumerate(("a", "b"))
        ]  # fmt: skip
        rows.append({"id": "c", "unscored": "no such file", "spans": [[0, 2]], "duration": None, "source": "",
                     "seconds": 0.1, "cpu_seconds": 0.1})  # fmt: skip
        return make_lines({"scores": head}, *rows, {"summary": {"num_scored": 2}})

    rules = ("top-k --count 1", "top-k --count 2 --threshold 0", "random --count 1")
    return Kind(
        name="scores",
        files={"t.jsonl": scores("t", 0.6), "s.jsonl": scores("s", 0.2)},
        spoiled=("t.jsonl", "s.jsonl"),
        make_reads=make_commands(
            *(f"select --teacher @/t.jsonl --student @/s.jsonl --strategy {rule} --out @/x.jsonl" for rule in rules),
            "select --teacher @/t.jsonl --student @/s.jsonl --strategy top-k --count 1 --out @/x.jsonl --json",
            "merge-scores @/t.jsonl --out @/y.jsonl",
        ),
    )


def _make_selection() -> Kind:
    def make(folder: Path) -> list[Read]:
        from video_opd.curriculum import read_selection

        return [lambda: read_selection(folder / "s.jsonl", {"a", "b"})]

    rows = make_lines(
        {
            "id": "a",
            "tau": 0.9,
            "sigma": 0.1,
            "delta": 0.8,
            "kept": True,
            "order": 1,
            "kind": "anchor",
            "why": "1 of 2",
        },
        {"id": "b", "tau": 0.3, "sigma": None, "delta": None, "kept": False, "why": "no"},
    )
    return Kind(name="selection", files={"s.jsonl": rows}, spoiled=("s.jsonl",), make_reads=make)


def _make_recipe() -> Kind:
    def make(folder: Path) -> list[Read]:
        from video_opd.config.recipe_file import load_recipe
        from video_opd.policy.location import find_local_folder
        from video_opd.train.build_inputs import find_side_questions_file, needs_rendering, refuse_unrenderable

        def check() -> None:
            recipe = load_recipe(folder / "r.toml")
            find_local_folder(recipe.student.model)
            needs_rendering(recipe)
            refuse_unrenderable(recipe)
            find_side_questions_file(recipe)
            Path(recipe.data.videos).is_dir()

        return [lambda: load_recipe(folder / "r.toml").to_toml(), check]

    recipes = ROOT / "recipes"
    texts = [(recipes / f"tiny-{name}.toml").read_bytes() for name in ("opd", "scc", "tvdf", "mixture", "grpo")]
    return Kind(
        name="recipe",
        files={"r.toml": texts[0].replace(b"tiny-opd", b"mine"), **{
            f"{number}.toml": text for number, text in enumerate(texts)}, "tiny-opd.toml": texts[0]},
        spoiled=("r.toml",),
        make_reads=make,
    )  # fmt: skip


def _make_comparison_recipe() -> Kind:
    def make(folder: Path) -> list[Read]:
        from video_opd.config.comparison_recipe import load_comparison, make_recipe

        def check() -> None:
            comparison, shared = load_comparison(folder / "c.toml")
            for method in comparison.methods:
                make_recipe(comparison, shared, method, (comparison.learning_rates or (None,))[0], comparison.seeds[0])

        return [check]

    recipes = ROOT / "recipes"
    files = {
        "c.toml": (recipes / "compare-tiny.toml").read_bytes(),
        "tiny-opd.toml": (recipes / "tiny-opd.toml").read_bytes(),
    }
    return Kind(name="comparison recipe", files=files, spoiled=("c.toml", "tiny-opd.toml"), make_reads=make)


def _make_run() -> Kind:
    from test_curriculum_report import facts, selection
    from test_report import SCORES, answer_row, metrics_row
    from test_timelines import query

    def make(folder: Path) -> list[Read]:
        from video_opd.files.journal import Journal, read_journal, truncate_journal
        from video_opd.report import write_overlay_report, write_report
        from video_opd.report.run.live_view import describe_end
        from video_opd.report.run.run_follower import RunFollower
        from video_opd.runs.inputs_file import read_inputs
        from video_opd.runs.round_files import read_cost_of_selection, read_facts
        from video_opd.train.memory_shortage import read_note

        def write_journal() -> None:
            for name in ("metrics.jsonl", "answers.jsonl"):
                with Journal(folder / name) as journal:
                    journal.append({"step": 9})

        def read_rounds() -> None:
            read_facts(folder / "rounds")
            read_cost_of_selection(folder / "rounds", "seconds")

        def follow() -> None:
            follower = RunFollower(folder)
            follower.read_new()
            follower.find_life()
            describe_end(follower)

        return [
            lambda: write_report(folder), lambda: write_report(folder), write_journal, read_rounds, follow,
            lambda: write_overlay_report([folder, folder], folder / "report.html"),
            lambda: truncate_journal(folder / "metrics.jsonl", after_step=1), lambda: read_note(folder / "memory.json"),
            lambda: read_journal(folder / "answers.jsonl"), lambda: read_inputs(folder),
        ]  # fmt: skip

    evaluation = {"step": 2, "name": "student-after", "split": "test", "scores": {"miou": 0.5} | SCORES,
                  "intervals": {"miou": [0.4, 0.6]}, "best_constant": {"span": [2.1, 6.4], "miou": 0.31},
                  "convention": {"iou": "of the first span"}, "warnings": ["w"], "set_aside": {"x": "no such file"},
                  "side_questions": {"accuracy": 0.7, "interval": [0.6, 0.8], "num_questions": 60}}  # fmt: skip
    metrics = [metrics_row(step, coupling={"active": 1, "suspended": 2}, reverse_kl_by_region={"number": {"mean": 0.5}})
               for step in (1, 2, 3)]  # fmt: skip
    file = {"bytes": 12, "sha256": "a" * 64}
    inputs = {"format": 1, "from_begin": True, "data_sha256": "a" * 64, "files": {"test": file | {"path": "test.jsonl"}},
              "models": {"student": {"name": "s", "files": {"config.json": file | {"modified_ns": 1, "changed_ns": 1}}}},
              "videos": {"folder": "videos", "bytes": {"a.mp4": 1, "b.mp4": None}},
              "changes": [{"accepted": ["test"], "differences": ["test: x"], "data_sha256": "b", "evaluations": "e"}]}  # fmt: skip
    files = {
        "recipe.toml": b'method = "opd"\nseed = 17\n',
        "environment.json": b'{"torch": "2.12"}',
        "inputs.json": json.dumps(inputs).encode(),
        "metrics.jsonl": make_lines(*metrics),
        "answers.jsonl": make_lines(*(answer_row(step, id) for step in (1, 3) for id in "ab")),
        "evaluation/student-before.json": json.dumps(evaluation | {"name": "student-before"}).encode(),
        "evaluation/student-after.json": json.dumps(evaluation, indent=2).encode(),
        "rounds/1/selection-facts.json": json.dumps(facts(1), indent=2).encode(),
        "rounds/1/selection.jsonl": make_lines(*selection()),
        "rounds/1/evaluation.json": json.dumps({"scores": {"miou": 0.4}}).encode(),
        "evaluation/timelines.json": json.dumps({"sample": ["a"], "queries": [query("a", "a.mp4", "random")]}).encode(),
        ".run.lock": b'{"host": "a", "pid": 1, "boot_id": "b"}',
        "memory.json": b'{"micro_batch_size": 2, "too_large": {"a": "CUDA out of memory"}}',
    }
    return Kind(name="run", files=files, spoiled=tuple(files), make_reads=make)


def _make_comparison() -> Kind:
    from test_comparison_report import FULL

    def make(folder: Path) -> list[Read]:
        from video_opd.report import write_comparison_report

        return [lambda: write_comparison_report(folder)]

    return Kind(
        name="comparison",
        files={"comparison.json": json.dumps(FULL).encode()},
        spoiled=("comparison.json",),
        make_reads=make,
    )


def _make_state() -> Kind:
    """What a run reads of its own folder before it goes on."""

    def make(folder: Path) -> list[Read]:
        from video_opd.config.recipe_file import load_grounding_defaults
        from video_opd.data.world_folder import read_record
        from video_opd.policy.run_folders import find_model
        from video_opd.runs import RunDirectory
        from video_opd.runs.checkpoint import Checkpoint, find_latest_checkpoint, verify_checkpoint
        from video_opd.train.training_state import read_state

        checkpoint = folder / "checkpoints" / "step-000002"
        saved = Checkpoint(
            step=2, folder=checkpoint, files=frozenset({"model/config.json", "optimizer.safetensors", "state.json"})
        )
        return [
            lambda: verify_checkpoint(checkpoint), lambda: find_latest_checkpoint(folder / "checkpoints"),
            lambda: read_state(saved, has_gate=True), lambda: find_model(folder),
            lambda: RunDirectory.refuse_unusable(folder, recipe_toml='method = "opd"\n'),
            lambda: load_grounding_defaults(folder), lambda: read_record(folder),
        ]  # fmt: skip

    marker = {"format": 1, "step": 2, "files": {"state.json": {"sha256": "0" * 64, "size": 3}}}
    files = {
        "checkpoints/step-000002/COMPLETE.json": json.dumps(marker, indent=1).encode(),
        "checkpoints/step-000002/state.json": b'{"step": 2, "seconds": 1.5, "set_aside": {"q1": "no such file"}, '
        b'"coupling": {"suspended": ["q2"]}, "data_sha256": "0"}',
        "recipe.toml": b'method = "opd"\nseed = 17\n[training]\nsteps = 4\n',
        ".run.lock": b'{"host": "h", "pid": 4, "boot_id": null}',
        "grounding.json": b'{"prompt": {"template": "tiny"}, "video": {"fps": 2.0}, "answers": {"max_new_tokens": 9}}',
        "world.json": b'{"seed": 0}',
    }
    return Kind(name="state", files=files, spoiled=tuple(files), make_reads=make)


def _list_results() -> Iterator[Kind]:
    from test_logs import ASKED, FILES, IDS
    from test_result_files import SAMPLES

    asked = make_lines(*({"id": id, "video": f"{video}.mp4", "query": query, "spans": [list(span)], "duration": 50.0}
                         for id, (video, query, span) in zip(IDS, ASKED, strict=True)))  # fmt: skip
    one = make_lines({"id": "a", "video": "a.mp4", "query": "query a", "spans": [[0, 4]], "duration": 100.0})
    for name, value in [*SAMPLES.items(), *((name, make()) for name, make in FILES.items())]:
        rows = value if isinstance(value, list) else [value]
        yield Kind(
            name=f"results of {name}",
            files={"r.jsonl": make_lines(*rows), "r.json": json.dumps(value, indent=1).encode(),
                   "m.jsonl": one if name in SAMPLES and value is SAMPLES[name] else asked},
            spoiled=("r.jsonl", "r.json"),
            make_reads=make_commands(
                "metrics @/r.jsonl --ground-truth @/m.jsonl", "metrics @/r.json --ground-truth @/m.jsonl --json",
                "metrics @/r.json", "metrics @/r.jsonl --as timelens --ground-truth @/m.jsonl",
                f"metrics @/r.jsonl --format {name.split(' ')[0]} --ground-truth @/m.jsonl",
            ),
        )  # fmt: skip


def _list_annotations() -> Iterator[Kind]:
    from annotation_rows import SAMPLES

    for number, sample in enumerate(SAMPLES):
        files = {name: text.encode() if isinstance(text, str) else text for name, text in sample.files.items()}
        texts = tuple(name for name in files if not name.endswith(".pkl"))
        durations = [name for name in files if name.startswith("durations.")]
        given = " ".join(f"@/{name}" for name in files if name not in durations)
        command = f"data import {sample.format} {given} --out @/out.jsonl"
        command += f" --durations @/{durations[0]}" if durations else ""
        yield Kind(
            name=f"annotations {number} of {sample.format}",
            files=files,
            spoiled=texts,
            make_reads=make_commands(command, f"{command} --json", f"metrics @/{texts[0]} --ground-truth @/{texts[0]}"),
        )


def _list_benchmarks() -> Iterator[Kind]:
    from benchmark_files import captions, multi_choice, mvbench_row, video_mme_row, yes_no

    def read(name: str) -> Callable[[Path], list[Read]]:
        def make(folder: Path) -> list[Read]:
            from importlib import import_module

            module = import_module(f"video_opd.eval.benchmarks.{name}")
            return [lambda: module.read(folder)]

        return make

    made = {
        "tempcompass": {
            "questions/multi-choice.json": {"a": {"order": [multi_choice()]}},
            "questions/yes_no.json": {"a": {"order": [yes_no()]}},
            "questions/caption_matching.json": {"a": {"action": [captions()]}},
        },
        "mvbench": {
            "json/action_sequence.json": [mvbench_row("a.mp4")],
            "json/moving_count.json": [mvbench_row("b.mp4")],
        },
        "video_mme": {"t.json": [video_mme_row(1), video_mme_row(2)]},
    }
    for name, values in made.items():
        files = {path: json.dumps(value, indent=1).encode() for path, value in values.items()}
        yield Kind(name=f"questions of {name}", files=files, spoiled=tuple(files), make_reads=read(name))
