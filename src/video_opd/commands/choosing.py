"""`score`, `merge-scores`, `select`: what to train on, by hand."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_opd.commands.asking import (
    Overrides,
    how_to_ask,
    load,
    load_model,
    precision_of,
    refuse_absent_device,
    refuse_early,
    require_writable,
    warn_of_tiny,
)
from video_opd.commands.earlier_outputs import Kind
from video_opd.errors import ConfigurationError, DataError, writing

if TYPE_CHECKING:
    from video_opd.curriculum import Race, ScoredExample, ScoreFile, ScoreHeader
    from video_opd.types import Example


def score(arguments: argparse.Namespace, _: Overrides) -> int:
    """Several answers to every example of a manifest."""
    from contextlib import closing

    from video_opd.data.manifest import read_manifest, with_durations
    from video_opd.data.prompt_source import PromptSource, refuse_tight_budget, require_folder

    refuse_absent_device(arguments)
    examples = read_manifest(arguments.manifest)[slice(arguments.shard[0], None, arguments.shard[1])]
    _refuse_impossible_scoring(arguments, len(examples))
    videos = arguments.videos or _videos_beside(arguments.manifest)
    require_folder(videos)
    examples = with_durations(examples, videos)
    require_writable(arguments.out, None)
    described = refuse_early(arguments, arguments.model, *([arguments.teacher] if arguments.teacher else []))
    defaults = how_to_ask(arguments)

    from video_opd.eval.how_asked import budget_of, how_asked, template_of
    from video_opd.eval.pool import Asking, Scorer
    from video_opd.eval.scoring_progress import ScoringProgress
    from video_opd.methods.teachers import OneTeacher
    from video_opd.policy.common_tokens import require_common_tokens

    template_of(defaults.prompt)  # refused before the model is fetched, as is the budget
    refuse_tight_budget(videos, examples, budget_of(defaults.video))
    warn_of_tiny(arguments, videos, examples)
    if described:
        require_common_tokens(*described)
    asking = Asking(
        num_answers=arguments.answers,
        top_k=arguments.top_k,
        max_new_tokens=defaults.answers.max_new_tokens,
        seed=arguments.seed,
        skip_below=arguments.skip_below,
    )
    race = _race(arguments, examples)
    settings = how_asked(defaults, precision_of(arguments)) | asking.settings() | _more_settings(arguments, race)
    header = _header(arguments, settings, len(examples))
    _refuse_other_scores(arguments.out, header)
    policy, renderer = load(arguments, defaults)
    teacher = OneTeacher(load_model(arguments, arguments.teacher)) if arguments.teacher else None

    def passes(row: ScoredExample) -> bool:
        return row.mean_iou >= arguments.threshold

    source = PromptSource(
        videos,
        renderer,
        num_examples=len(examples),
        workers=1,
        max_bad_share=arguments.max_bad_share,
        share_is_called="--max-bad-share",
    )
    title = f"scoring {arguments.model}"
    with closing(source), ScoringProgress(title, len(examples)) as progress, writing(arguments.out):
        scorer = Scorer(policy=policy, source=source, asking=asking, batch_size=arguments.batch_size, teacher=teacher)
        scores = scorer.score(examples, arguments.out, header, race=race, passes=passes, on_batch=progress.advance)
    _tell(arguments, scores)
    return 0


def _header(arguments: argparse.Namespace, settings: dict[str, Any], num_examples: int) -> ScoreHeader:
    """What the scores will be of. Of a model on the hub the weights are fetched for it."""
    from video_opd.curriculum import ScoreHeader
    from video_opd.policy.location import model_sha256, resolve_model

    return ScoreHeader(
        model=arguments.model,
        model_sha256=model_sha256(resolve_model(arguments.model)),
        manifest_sha256=hashlib.sha256(arguments.manifest.read_bytes()).hexdigest(),
        settings=settings,
        num_examples=num_examples,
        shard=arguments.shard,
    )


def _more_settings(arguments: argparse.Namespace, race: Race | None) -> dict[str, Any]:
    """What a score depends on beside how the model was asked."""
    from video_opd.policy.location import model_sha256, resolve_model

    more: dict[str, Any] = {}
    if arguments.teacher:
        more["teacher_sha256"] = model_sha256(resolve_model(arguments.teacher))
    if race is not None:
        more["race"] = f"{race}, threshold={arguments.threshold}"
    return more


def _refuse_impossible_scoring(arguments: argparse.Namespace, num_examples: int) -> None:
    if not num_examples:
        raise ConfigurationError(
            "--shard {}/{}".format(*arguments.shard),
            reason="the manifest has fewer examples",
            remedy="take fewer shards",
        )
    if arguments.teacher and (arguments.answers < 2 or arguments.top_k == "beam"):
        raise ConfigurationError(
            "--teacher without draws",
            reason="the distance to a teacher is taken along drawn answers",
            remedy="give --answers 2 or more, and --top-k sampled",
        )
    if arguments.skip_below is not None and arguments.top_k == "beam":
        raise ConfigurationError(
            "--skip-below with --top-k beam",
            reason="it spares draws, and a beam search makes none",
            remedy="leave one of them out",
        )


def _tell(arguments: argparse.Namespace, scores: ScoreFile) -> None:
    """What was scored, and why the rest was not."""
    reasons: dict[str, list[str]] = {}
    for id, why in scores.unscored().items():
        reasons.setdefault(why, []).append(id)
    for why, ids in reasons.items():
        print(f"{len(ids)} not scored, such as {ids[0]}: {why}", file=sys.stderr)
    summary = scores.summary()["summary"]
    if arguments.json:
        print(json.dumps({"out": str(arguments.out), **scores.header.to_row()["scores"], **summary}, indent=2))
    else:
        from video_opd.terminal import show_summary_of_scores

        show_summary_of_scores(summary, arguments.model, arguments.out)


def merge_scores(arguments: argparse.Namespace, _: Overrides) -> int:
    """Shards into one file, in manifest order."""
    from video_opd.curriculum import read_scores, write_scores

    scores = read_scores(*arguments.scores)
    require_writable(arguments.out, Kind.SCORES)
    with writing(arguments.out):
        write_scores(arguments.out, scores)
    print(f"{arguments.out}: {len(scores.rows)} examples", file=sys.stderr)
    return 0


def select(arguments: argparse.Namespace, _: Overrides) -> int:
    """From scores to a selection."""
    from video_opd.curriculum import SelectionRule, choose, read_scores, write_selection
    from video_opd.settings import make_checked

    rule = make_checked(
        SelectionRule,
        strategy=arguments.strategy,
        count=arguments.count,
        threshold=arguments.threshold,
        reliability=arguments.reliability,
        disagreement=arguments.disagreement,
        difficulty_mean=arguments.mean,
        difficulty_std=arguments.std,
        density_corrected=arguments.density_corrected,
    )
    for asked, name, said in (
        (rule.asks_teacher, "teacher", arguments.teacher),
        (rule.asks_student, "student", arguments.student),
    ):
        if asked and not said:
            raise ConfigurationError(
                f"--strategy {rule.strategy} with --threshold {arguments.threshold:g}",
                reason=f"it needs the {name}'s scores",
                remedy=f"give them with --{name}; `video-opd score` writes them"
                + ("" if name == "student" or rule.ranks_by_gap_in_iou else ", or give --threshold 0 for no filter"),
            )
    if not (arguments.teacher or arguments.student):
        raise ConfigurationError("no scores", reason="there is nothing to select from", remedy="give --teacher SCORES")
    teacher, student = (read_scores(*paths) if paths else None for paths in (arguments.teacher, arguments.student))
    choice = choose(teacher, student, rule, arguments.seed)
    require_writable(arguments.out, Kind.SELECTION)
    with writing(arguments.out):
        write_selection(arguments.out, choice.selection)
    for warning in choice.warnings:
        print(f"video-opd: warning: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"out": str(arguments.out), **choice.facts, "warnings": choice.warnings}, indent=2))
    else:
        from video_opd.terminal import show_choice

        show_choice(choice, arguments.out)
    return 0


def _videos_beside(manifest: Path) -> Path:
    """Where videos are looked for if nobody says so."""
    beside = manifest.parent / "videos"
    return beside if beside.is_dir() else manifest.parent


def _race(arguments: argparse.Namespace, examples: list[Example]) -> Race | None:
    from video_opd.curriculum import Race, RaceRule

    if not (arguments.race or arguments.enough):
        return None
    rule = RaceRule(race=arguments.race, race_pilot=arguments.pilot, race_min_yield=arguments.min_yield)
    sources = {example.id: example.source for example in examples}
    return Race(sources, rule, arguments.seed, enough=arguments.enough)


def _refuse_other_scores(out: Path, header: ScoreHeader) -> None:
    from video_opd.curriculum.score_file import difference, read_header

    line = (json.dumps(header.to_row()) + "\n").encode()
    if not out.exists() or (out.stat().st_size < len(line) and line.startswith(out.read_bytes())):
        return  # nothing yet, or a first line that a kill cut short
    found = read_header(out)
    if found.identity != header.identity or found.shard != header.shard:
        raise DataError(
            f"{out} holds other scores already",
            reason=difference(found, header),
            remedy="give another file with --out, or the settings that this one was begun with",
        )
