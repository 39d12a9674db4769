"""`score`: write several answers of a model to every example of a manifest."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from video_opd.cli.argument_types import MODEL_NAMES, Json, Plugins, Positive, Shard, Share, Whole, load_plugins
from video_opd.cli.asking import (
    AS_THE_MODEL_IS,
    Model,
    ModelChoices,
    join_job_to_ask,
    load,
    load_model,
    precision_of,
    refuse_absent_device,
    refuse_early,
    require_writable,
    resolve_defaults,
    warn_of_tiny,
)
from video_opd.cli.path_roles import GoesOn, Reads, ReadsModelOrNames, ReadsVideos
from video_opd.cli.record_flags import add_record_flags
from video_opd.curriculum.racing import RaceRule
from video_opd.errors import ConfigurationError
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.config import GroundingDefaults
    from video_opd.curriculum import Race, ScoreFile
    from video_opd.eval.pool import RolloutOptions
    from video_opd.eval.score_into_file import ScoringTask
    from video_opd.types import Example


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScoringChoices:
    """What is scored, by what draws."""

    videos: ReadsVideos | None = None
    """folder the video paths are relative to (default: videos beside the manifest)"""
    out: GoesOn
    """file of scores (JSON lines); an interrupted run continues"""
    answers: Positive = 4
    """answers to each example, from one reading of its prompt"""
    top_k: Literal["sampled", "beam"] = "sampled"
    """sampled: the greedy answer and sampled answers; beam: the most probable distinct spans"""
    seed: Whole = 0
    """seed of the sampled answers; two models draw different answers with the same seed too"""
    teacher: Annotated[ReadsModelOrNames | None, MODEL_NAMES] = None
    """also measure the distance to this teacher along the model's answers, for reverse-kl"""
    shard: Shard = (0, 1)
    """score only every N-th example, starting with the I-th"""
    batch_size: Positive = 8
    """prompts read together"""
    shards: Positive = 1
    """under torchrun: processes that hold one copy of the weights together"""
    max_bad_share: Share = 0.05
    """stop if a larger share of the videos is unusable"""
    skip_below: Share | None = None
    """draw no more answers if the greedy answer's IoU is lower: its IoU is then the example's mean IoU, and a filter
    loses examples whose other answers would be better"""
    threshold: Share = 0.7
    """threshold of the race, as mean IoU"""
    enough: Positive | None = None
    """stop when this many examples passed the threshold"""
    plugin: Plugins = ()
    json: Json = False


NO_RACE = RaceRule()


@add_record_flags
def score(
    model: Model,
    manifest: Reads,
    /,
    *,
    how: ModelChoices = AS_THE_MODEL_IS,
    by: ScoringChoices,
    racing: RaceRule = NO_RACE,
) -> int:
    """Write several answers of a model to every example of a manifest, for a curriculum.

    Args:
        manifest: questions, JSON lines

    Example:
        video-opd score tiny-teacher train.jsonl --videos videos --answers 4 --out teacher-scores.jsonl
    """
    load_plugins(by.plugin)
    join_job_to_ask(how, by.shards)
    scoring = _understand(model, manifest, how, by, racing)

    from video_opd.eval.score_into_file import CallerWords, score_into
    from video_opd.eval.scoring_progress import ScoringProgress

    scores = score_into(
        by.out,
        scoring,
        CallerWords(max_bad_share="--max-bad-share", another_file="give another file with --out"),
        load=lambda: load(model, how, scoring.how, shards=by.shards),
        load_teacher=lambda name: load_model(name, how, shards=by.shards),
        progress=ScoringProgress(f"scoring {model}", len(scoring.examples)),
    )
    _tell(model, by, scores)
    return 0


def _understand(model: str, manifest: Path, how: ModelChoices, by: ScoringChoices, racing: RaceRule) -> ScoringTask:
    """What the command line asks for. What cannot be done is refused, before any weights are downloaded."""
    from video_opd.data.manifest import add_durations, read_manifest
    from video_opd.data.prompt_source import refuse_tight_budget, require_folder

    refuse_absent_device(how)
    examples = read_manifest(manifest)[slice(by.shard[0], None, by.shard[1])]
    _refuse_impossible_scoring(by, len(examples))
    videos = by.videos or _guess_videos_folder(manifest)
    require_folder(videos)
    examples = add_durations(examples, videos)
    require_writable(by.out, None)
    teachers = [by.teacher] if by.teacher else []
    described = refuse_early(how, model, *teachers)
    defaults = resolve_defaults(model, how)

    from video_opd.eval.how_asked import resolve_budget, resolve_template
    from video_opd.eval.score_into_file import ScoringTask
    from video_opd.policy.common_tokens import require_common_tokens

    resolve_template(defaults.prompt)  # refused before the model is downloaded, as is the budget
    refuse_tight_budget(videos, examples, resolve_budget(defaults.video))
    warn_of_tiny([model, *teachers], videos, examples)
    if described:
        require_common_tokens(*described)
    return ScoringTask(
        manifest=manifest,
        videos=videos,
        examples=examples,
        model=model,
        how=defaults,
        precision=precision_of(how),
        asking=_make_options(by, defaults),
        batch_size=by.batch_size,
        max_bad_share=by.max_bad_share,
        shard=by.shard,
        teacher=by.teacher,
        race=_make_race(racing, by, examples),
        threshold=by.threshold,
    )


def _make_options(by: ScoringChoices, defaults: GroundingDefaults) -> RolloutOptions:
    from video_opd.eval.pool import RolloutOptions

    return RolloutOptions(
        num_answers=by.answers,
        top_k=by.top_k,
        max_new_tokens=defaults.answers.max_new_tokens,
        seed=by.seed,
        skip_below=by.skip_below,
    )


def _refuse_impossible_scoring(by: ScoringChoices, num_examples: int) -> None:
    if not num_examples:
        raise ConfigurationError(
            "--shard {}/{}".format(*by.shard),
            reason="the manifest has fewer examples",
            remedy="use fewer shards",
        )
    if by.teacher and (by.answers < 2 or by.top_k == "beam"):
        raise ConfigurationError(
            "--teacher without draws",
            reason="the distance to a teacher is measured along sampled answers",
            remedy="give --answers 2 or more, and --top-k sampled",
        )
    if by.skip_below is not None and by.top_k == "beam":
        raise ConfigurationError(
            "--skip-below with --top-k beam",
            reason="it saves sampled answers, and a beam search has none",
            remedy="leave one of them out",
        )


def _tell(model: str, by: ScoringChoices, scores: ScoreFile) -> None:
    """What was scored, and why the rest was not."""
    reasons: dict[str, list[str]] = {}
    for id, why in scores.list_unscored().items():
        reasons.setdefault(why, []).append(id)
    for why, ids in reasons.items():
        show(f"{len(ids)} not scored, such as {ids[0]}: {why}", file=sys.stderr)
    summary = scores.summary()["summary"]
    if by.json:
        show(dumps({"out": str(by.out), **scores.header.to_row()["scores"], **summary}, indent=2))
    else:
        from video_opd.cli.result_tables import show_summary_of_scores

        show_summary_of_scores(summary, model, by.out)


def _guess_videos_folder(manifest: Path) -> Path:
    """The folder of the videos if --videos is not given."""
    beside = manifest.parent / "videos"
    return beside if beside.is_dir() else manifest.parent


def _make_race(rule: RaceRule, by: ScoringChoices, examples: list[Example]) -> Race | None:
    from video_opd.curriculum import Race

    if not (rule.race or by.enough):
        return None
    sources = {example.id: example.source for example in examples}
    return Race(sources, rule, by.seed, enough=by.enough)
