"""Kill commands at every place where they write, and look whether the same command comes to the same end.

python scripts/chaos.py --kills 50
python scripts/chaos.py --kills 1 --seed 17 --keep DIR

A trial runs a command, disturbs it at seeded places (a kill in the middle of a write, a signal that asks for a stop, at
once or a moment later), runs it again, and compares all it wrote with what the command writes that nobody disturbs:
weights bit by bit, selections, scores, predictions, metrics. No process, file, folder or lock may be left over. Fifty
trials pass every place where one of the commands writes. Every failure is printed with its command, seed and places.
The last line is `N passed, N failed`; the exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chaos_scenes import Scene, describe_difference, find_differences, list_scenes, make_world, without_times
from disturbed_command import Ended, find_held_locks, run_command
from video_opd.files import unfinished
from write_points import Disturbance

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_SHORTEST_DELAY_S, _LONGEST_DELAY_S = 0.05, 0.5
_CYCLE = 50
"""So many trials pass every point."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A scene, and how it ends when nobody disturbs it."""

    scene: Scene
    folder: Path
    """Of the undisturbed run."""
    points: Counter[str]
    """How often each point was passed, in the order of the first passages."""
    out: str

    @classmethod
    def set_up(cls, scene: Scene, scratch: Path) -> Stage:
        """Run the command without a disturbance."""
        folder = scratch / f"{scene.name}-undisturbed"
        scene.make_folder(folder)
        ended = run_command(scene.words, folder, None)
        if wrong := _judge_end(ended, None):
            raise SystemExit(f"{scene.name} fails by itself: {'; '.join(wrong)}")
        return cls(scene=scene, folder=folder, points=Counter(ended.points), out=ended.out)

    def choose(self, seed: int, turn: int, most: int) -> list[Disturbance]:
        """Choose what happens to the processes of a trial, one after the other.

        Each trial of a cycle has points of its own. They are taken in the order in which they are first passed, as
        what was done before a kill is not done again.

        Args:
            seed: of the trial.
            turn: which of the scene's trials in the cycle it is.
            most: kills.
        """
        chance, order = random.Random(f"{self.scene.name} {seed}"), list(self.points)
        own = order[(turn + seed // _CYCLE) % self.scene.share :: self.scene.share]
        row = [Disturbance(point=point) for point in sorted(chance.sample(own, min(most, len(own))), key=order.index)]
        delay_s = chance.choice((0.0, chance.uniform(_SHORTEST_DELAY_S, _LONGEST_DELAY_S)))
        number = _STOPS[seed // 2 % len(_STOPS)] if seed % 2 else signal.SIGKILL
        point = chance.choice(order)
        passage = chance.randint(1, self.points[point])
        last = Disturbance(point=point, occurrence=passage, number=number, delay_s=delay_s)
        return [last] if most == 1 else [*row, last]


def take_turns(scenes: list[Scene]) -> list[tuple[Scene, int]]:
    """The scenes of one cycle of trials, mixed, each with how often it came before."""
    owed = {scene.name: 0.0 for scene in scenes}
    turns: Counter[str] = Counter()
    order = []
    for _ in range(_CYCLE):
        for scene in scenes:
            owed[scene.name] += scene.share
        waiting = [scene for scene in scenes if turns[scene.name] < scene.share]
        # Those that never came go first, so that a few trials have all commands.
        chosen = max(waiting, key=lambda scene: (not turns[scene.name], owed[scene.name]))
        owed[chosen.name] -= _CYCLE
        order.append((chosen, turns[chosen.name]))
        turns[chosen.name] += 1
    return order


@dataclass(kw_only=True)
class Trial:
    """What happened to a command, and what is wrong in the end."""

    happened: list[Disturbance]
    wrong: list[str]
    num_cut_short: int = 0
    """Disturbances that ended the process."""


def try_row(stage: Stage, row: list[Disturbance], folder: Path) -> Trial:
    """Disturb the command in one place after the other; where it ends well before the next one, it begins again."""
    trial, waiting = Trial(happened=[], wrong=[]), list(row)
    while True:
        stage.scene.make_folder(folder)
        while True:
            disturbance = waiting.pop(0) if waiting else None
            ended = run_command(stage.scene.words, folder, disturbance)
            if disturbance is not None:
                trial.happened.append(disturbance)
                trial.num_cut_short += ended.status != 0
            trial.wrong += _judge_end(ended, disturbance)
            if trial.wrong or ended.status == 0:
                break
        trial.wrong += [] if trial.wrong else _judge_outcome(stage, folder, ended)
        if trial.wrong or not waiting:
            return trial
        # The point was not passed after the kill before it: it is tried first in a new folder.
        if disturbance is not None and not disturbance.delay_s and disturbance.point not in ended.points:
            waiting.insert(0, trial.happened.pop())
        shutil.rmtree(folder)


def _judge_end(ended: Ended, disturbance: Disturbance | None) -> list[str]:
    """What is wrong with how a process ended."""
    allowed = {0}
    if disturbance is not None:
        number = disturbance.number
        allowed.add(-number if number == signal.SIGKILL else 128 + number)
    wrong = [f"{orphan} lives on" for orphan in ended.orphans]
    if ended.status not in allowed or "Traceback" in ended.err:
        wrong.append(f"status {ended.status}: {ended.err.strip()[-800:]}")
    return wrong


def _judge_outcome(stage: Stage, folder: Path, ended: Ended) -> Iterator[str]:
    """What differs from the undisturbed run."""
    yield from find_differences(folder, stage.folder)
    yield from find_held_locks(folder)
    mine, theirs = (without_times(json.loads(out)) for out in (ended.out, stage.out))
    if mine != theirs:
        yield f"stdout: {describe_difference(mine, theirs)}"


def main() -> int:
    """Disturb commands as often as is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="trials")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--most", type=int, default=1000, help="most disturbances in one trial, one after the other")
    parser.add_argument("--keep", type=Path, help="folder for what the trials that failed have left")
    given = parser.parse_args()
    _import_all()
    scenes, stages, totals = take_turns(list_scenes()), dict[str, Stage](), Counter[str]()
    with unfinished.open_scratch_folder() as folder:
        scratch = folder.resolve()
        make_world(scratch / "world")
        for seed in range(given.seed, given.seed + given.kills):
            scene, turn = scenes[seed % _CYCLE]
            if scene.name not in stages:
                stages[scene.name] = Stage.set_up(scene, scratch)
            stage, folder = stages[scene.name], scratch / "trial"
            trial = try_row(stage, stage.choose(seed, turn, given.most), folder)
            totals.update(
                {"passed": int(not trial.wrong), "failed": int(bool(trial.wrong)), "cut": trial.num_cut_short}
            )
            if trial.wrong:
                print(f"{scene.name} --seed {seed} --most {given.most} failed after the last of")
                print(*trial.happened[-3:], sep="\n")
                print(*trial.wrong[:4], sep="\n", flush=True)
                if given.keep:
                    shutil.copytree(folder, given.keep / f"{scene.name}-{seed}", dirs_exist_ok=True)
            shutil.rmtree(folder)
    gc.unfreeze()
    places = ", ".join(f"{name} {len(stage.points)}" for name, stage in stages.items())
    print(f"{totals['cut']} processes were cut short; places where commands write: {places}")
    print(f"{totals['passed']} passed, {totals['failed']} failed")
    return 1 if totals["failed"] else 0


def _import_all() -> None:
    """Import what commands need: a process that is forked from this one then starts at once."""
    gc.disable()
    import torch
    import transformers.models.qwen3_vl.modeling_qwen3_vl
    import transformers.models.qwen3_vl.processing_qwen3_vl  # noqa: F401

    import video_opd.cli.application
    import video_opd.compare.comparison_runs
    import video_opd.eval.evaluate_into_file
    import video_opd.eval.score_into_file
    import video_opd.report
    import video_opd.train.run  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()  # the collector would copy pages that both processes have
    gc.enable()


if __name__ == "__main__":
    sys.exit(main())
