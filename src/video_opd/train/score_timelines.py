"""At the end of a run, while student and teacher are in memory: some answers to test queries, scored token by token.

The report shows them. Nothing of the run depends on them: no weight, no metric and no random draw. If this fails, the
run has its result all the same, and the report shows the queries without their tokens. Only a job whose processes have
lost each other must end: the same command then finds the queries without tokens, and finishes the run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from video_opd.data.ablated_prompts import remove_video
from video_opd.errors import DataError, UserError
from video_opd.eval.ask import ask_and_keep, ask_in_batches, greedy_texts, render_batches
from video_opd.eval.timeline_choice import choose_timelines, read_texts
from video_opd.files.durable import write_durably
from video_opd.files.timeline_records import TIMELINES_FILE, Timelines, TokenJudgement
from video_opd.grounding import find_regions
from video_opd.methods.teachers import at_temperature
from video_opd.policy.load import Policy
from video_opd.policy.ranked_policy import DealtPrompts
from video_opd.policy.read import Reading
from video_opd.ranks import current_job
from video_opd.runs.directory import RunDirectory
from video_opd.train.build_inputs import PromptMemories, make_source
from video_opd.train.run_parts import RunParts
from video_opd.types import AnswerGroup, Example, Prompt, Sampling, TokenScores

_log = logging.getLogger(__name__)

_DECIMALS = 5


def score_timelines(parts: RunParts, run: RunDirectory, memories: PromptMemories) -> None:
    """Choose some test queries, score the answers' tokens, and write `evaluation/timelines.json`, unless it is there.

    Args:
        parts: of the run, whose student has been evaluated.
        run: its folder.
        memories: prompts that were rendered before.
    """
    path = run.evaluation / TIMELINES_FILE
    if not parts.data.test or path.exists():
        return
    try:
        scoring = _Scoring(parts, run, memories)
        if current_job() is not None:  # a failure may end the job; the next start must not fail here again
            _write(path, scoring.choose())
        _write(path, scoring.score())
    except Exception as error:  # whatever it is, the run has its result
        if _has_job_failed():
            raise
        _log.warning(
            "the report shows the answers to test queries without their tokens, because scoring them failed: %s",
            error,
            exc_info=None if isinstance(error, UserError) else error,
        )


def _write(path: Path, timelines: Timelines) -> None:
    write_durably(path, (json.dumps(timelines.to_json()) + "\n").encode())


def _has_job_failed() -> bool:
    job = current_job()
    return job is not None and job.has_failed


class _Scoring:
    """The models of a run, and the queries that they are asked."""

    def __init__(self, parts: RunParts, run: RunDirectory, memories: PromptMemories) -> None:
        self.parts, self.recipe, self.memories = parts, parts.recipe, memories
        self.texts = read_texts(run.evaluation)
        temperature = parts.recipe.training_temperature
        self.sampling = Sampling(
            max_new_tokens=parts.recipe.answers.max_new_tokens, greedy=True, temperature=temperature
        )
        self.teacher = parts.models.teacher and at_temperature(parts.models.teacher, temperature)
        self.is_warned = False
        self.starts = parts.data.source.renderer.template.answer_starts

    def choose(self) -> Timelines:
        """The queries to show, by the answers that are known so far."""
        return choose_timelines(self.parts.data.test, self.texts, self.recipe.seed)

    def score(self) -> Timelines:
        """The queries to show, with the tokens of the student's answers."""
        found = self.choose()
        if missing := self._list_missing_teachers():
            self._ask_teachers(missing, self._find(found))
            found = self.choose()  # now it is known where student and teacher differ
        judged = self._judge(self._find(found))
        queries = [
            each.model_copy(update={"tokens": judged[each.id]}) if each.id in judged else each for each in found.queries
        ]
        return found.model_copy(update={"queries": queries})

    def _find(self, timelines: Timelines) -> list[Example]:
        wanted = {each.id for each in timelines.queries}
        return [example for example in self.parts.data.test if example.id in wanted]

    def _list_missing_teachers(self) -> dict[str, Policy]:
        """The teachers that were not evaluated, by name."""
        policies = self.parts.models.teacher.policies if self.parts.models.teacher else ()
        named = zip(self.recipe.name_teachers(), policies, strict=False)
        return {name: policy for name, policy in named if name not in self.texts}

    def _ask_teachers(self, teachers: Mapping[str, Policy], examples: Sequence[Example]) -> None:
        """Ask some teachers these queries alone."""
        for name, policy in teachers.items():
            with closing(make_source(self.recipe, policy, examples, memories=self.memories)) as source:
                self.texts[name] = ask_and_keep(
                    policy,
                    examples,
                    source,
                    greedy_texts(policy, self.recipe.answers.max_new_tokens),
                    batch_size=self.recipe.compute.evaluation_batch_size,
                )

    def _judge(self, examples: Sequence[Example]) -> dict[str, TokenJudgement]:
        """By id: the student's answer, token by token."""
        student = self.parts.models.student
        with closing(make_source(self.recipe, student, examples, memories=self.memories, for_teachers=True)) as source:
            batches = render_batches(
                examples,
                source,
                batch_size=self.parts.learner.settings.micro_batch_size,  # the teacher scores them as in training
                num_readers=student.num_readers,
            )
            asked = list(ask_in_batches(student, batches, self._judge_reading))
        return dict(pair for each in asked for pair in each.answers)

    def _judge_reading(self, reading: Reading) -> list[tuple[str, TokenJudgement]]:
        student = self.parts.models.student
        groups = student.answer(reading, sampling=self.sampling)
        mine = student.score(reading, groups, temperature=self.sampling.temperature)
        prompts = reading.prompts
        theirs = self._ask_judge(prompts, groups)
        blind = None if theirs is None else self._ask_judge(_remove_videos(prompts), groups)
        return [(group.prompt_id, self._describe(group, row, mine, theirs, blind)) for row, group in enumerate(groups)]

    def _ask_judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> TokenScores | None:
        """Score some answers by the teacher; None where no teacher can be chosen for one of their queries.

        Rules that choose one of several teachers, by score files or by sources, need to know training examples only.
        """
        if self.teacher is None:
            return None
        try:
            return self.teacher(prompts, groups)
        except DataError as error:
            if _has_job_failed():
                raise
            if not self.is_warned:
                _log.warning("the report shows answers to test queries without the teacher's log-probs: %s", error)
            self.is_warned = True
            return None

    def _describe(
        self, group: AnswerGroup, row: int, mine: TokenScores, theirs: TokenScores | None, blind: TokenScores | None
    ) -> TokenJudgement:
        answer = group.answers[0]
        texts = [self.parts.models.student.tokenizer.decode([token]) for token in answer.token_ids]

        def list_logprobs(scores: TokenScores | None) -> list[float | None]:
            return [] if scores is None else _shorten(scores.logprobs[row, : len(answer)].tolist())

        return TokenJudgement(
            texts=texts,
            regions=list(find_regions(texts, truncated=answer.truncated, answer_starts=self.starts)),
            truncated=answer.truncated,
            sampler_logprobs=_shorten(answer.sampler_logprobs or ()),
            student_logprobs=list_logprobs(mine),
            teacher_logprobs=list_logprobs(theirs),
            blind_logprobs=list_logprobs(blind),
        )


def _shorten(logprobs: Sequence[float]) -> list[float | None]:
    return [round(value, _DECIMALS) for value in logprobs]


def _remove_videos(prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    """The same prompts with grey frames, each for the process that reads it."""
    grey = [remove_video(prompt) for prompt in prompts]
    return DealtPrompts.give(grey, prompts.processes) if isinstance(prompts, DealtPrompts) else grey
