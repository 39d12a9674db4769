"""A step that runs out of memory is done again in smaller pieces; an example that never fits is set aside."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from video_opd.config import TrainingSettings
from video_opd.curriculum import Coupling
from video_opd.data.prompt_source import PromptSource
from video_opd.errors import ConfigurationError, EngineError, is_out_of_memory
from video_opd.files.run_records import MemoryNote
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.policy.load import Policy
from video_opd.runs.directory import RunDirectory
from video_opd.train.answer_gate import AnswerGate
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.memory_shortage import add_to_note, describe_note, read_note
from video_opd.train.smaller_pieces import SmallerPieces

SEED = 7
SENTENCES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


class SmallMemory:
    """Lets a pass with gradient fail that reads more than so many prompts or tokens, or certain examples."""

    def __init__(self, monkeypatch) -> None:
        self.most_prompts, self.most_tokens, self.too_large = 99, 10**9, set()
        self.error: Exception = SENTENCES[0]
        self.where, self.after = "read", 0
        self.num_failures = 0
        for verb in ("read", "score"):
            real = getattr(Policy, verb)
            monkeypatch.setattr(Policy, verb, self._limit(verb, real))

    def _limit(self, verb, real):
        def limited(policy, what, *args, grad=False, **options):
            prompts = what if verb == "read" else what.prompts
            tokens = len(prompts) * max(map(len, prompts))
            is_over = len(prompts) > self.most_prompts or tokens > self.most_tokens
            if grad and verb == self.where and (is_over or any(prompt.id in self.too_large for prompt in prompts)):
                self.after -= 1
                if self.after < 0:
                    self.num_failures += 1
                    raise self.error
            return real(policy, what, *args, grad=grad, **options)

        return limited


@pytest.fixture
def memory(monkeypatch) -> SmallMemory:
    return SmallMemory(monkeypatch)


def make_run(student, teacher, folder, *, gate=None, max_bad_share=0.5, **changes):
    """Parts of a run with a student of its own; the gradients that its optimiser was given; what takes its steps."""
    settings = TrainingSettings(**({"batch_size": 6, "micro_batch_size": 4, "clip_norm": 1e9} | changes))
    learner = Learner(replace(student, model=copy.deepcopy(student.model)), settings, total_steps=2, gate=gate)
    seen: list[dict[str, torch.Tensor]] = []
    step = learner.optimizer.step
    learner.optimizer.step = lambda: (
        seen.append({n: p.grad.clone() for n, p in learner.parameters.items()}),
        step(),
    )
    method = ReverseKLDistillation(write=StudentWrites(max_new_tokens=8), teacher=OneTeacher(teacher))
    source = PromptSource(folder, SimpleNamespace(), num_examples=6, max_bad_share=max_bad_share)
    parts = SimpleNamespace(learner=learner, method=method, gate=gate, data=SimpleNamespace(source=source))
    folder.mkdir(exist_ok=True)
    return parts, seen, SmallerPieces(parts, RunDirectory(folder), take_step)


def is_close(one, other) -> bool:
    return all((one[name] - other[name]).norm() <= 1e-4 * other[name].norm() + 1e-8 for name in other)


@pytest.mark.parametrize("where", ["read", "score"])
@pytest.mark.parametrize("error", SENTENCES)
def test_a_step_that_does_not_fit_is_done_again_with_the_same_gradient(
    student, teacher, prompts, memory, tmp_path, caplog, where, error
):
    _, whole, take = make_run(student, teacher, tmp_path / "whole")
    expected = take(prompts[:6], step=0, seed=SEED)
    memory.most_prompts, memory.where, memory.error = 1, where, error
    parts, seen, take = make_run(student, teacher, tmp_path / "small")
    with caplog.at_level(logging.WARNING):
        outcome = take(prompts[:6], step=0, seed=SEED)
    assert outcome.num_retries == memory.num_failures == 2  # of 4, then of 2
    assert len(seen) == 1
    assert is_close(seen[0], whole[0])
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-4)
    texts = [[a.token_ids for b in each.batches for g in b.groups for a in g] for each in (outcome, expected)]
    assert texts[0] == texts[1]
    assert parts.learner.settings.micro_batch_size == 1
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "step 1 ran out of memory with training.micro_batch_size = 4",
        "step 1 ran out of memory with training.micro_batch_size = 2",
    ]
    assert take(prompts[:6], step=1, seed=SEED).num_retries == 0, "it stays so for the rest of the run"
    assert json.loads((tmp_path / "small" / "memory.json").read_text()) == {"micro_batch_size": 1}
    again, _, _ = make_run(student, teacher, tmp_path / "small")
    assert again.learner.settings.micro_batch_size == 1, "also of a run that goes on"
    assert not (tmp_path / "whole" / "memory.json").exists()


def test_a_budget_of_tokens_is_halved_until_the_pieces_are_smaller(student, teacher, prompts, memory, tmp_path):
    _, whole, take = make_run(student, teacher, tmp_path / "whole")
    take(prompts[:6], step=0, seed=SEED)
    longest = max(map(len, prompts[:6]))
    memory.most_tokens = 2 * longest
    parts, seen, take = make_run(student, teacher, tmp_path / "small", micro_batch_tokens=100 * longest)
    outcome = take(prompts[:6], step=0, seed=SEED)
    assert 0 < outcome.num_retries <= 2
    assert len(prompts[0]) <= parts.learner.settings.micro_batch_tokens <= 3 * longest
    assert is_close(seen[0], whole[0])


def test_an_example_that_does_not_fit_alone_is_set_aside(student, teacher, prompts, memory, tmp_path):
    left = [prompt for place, prompt in enumerate(prompts[:6]) if place != 2]
    _, whole, take = make_run(student, teacher, tmp_path / "whole")
    expected = take(left, step=0, seed=SEED)
    memory.too_large = {prompts[2].id}
    parts, seen, take = make_run(student, teacher, tmp_path / "small")
    outcome = take(prompts[:6], step=0, seed=SEED)
    assert outcome.num_retries == 3
    assert list(parts.data.source.set_aside) == [prompts[2].id]
    assert "does not fit the memory by itself: CUDA out of memory" in parts.data.source.set_aside[prompts[2].id]
    assert outcome.num_scheduled_tokens == expected.num_scheduled_tokens
    assert is_close(seen[0], whole[0])
    again, _, _ = make_run(student, teacher, tmp_path / "small")
    assert again.data.source.set_aside == parts.data.source.set_aside


def test_a_batch_of_which_nothing_fits_changes_nothing(student, teacher, prompts, memory, tmp_path):
    memory.most_prompts = 0
    parts, seen, take = make_run(student, teacher, tmp_path, max_bad_share=1.0, weight_decay=0.1)
    before = copy.deepcopy(parts.learner.student.model.state_dict())
    outcome = take(prompts[:3], step=0, seed=SEED)
    assert (outcome.batches, outcome.suspended, seen) == ((), (), [])
    assert all(torch.equal(before[name], value) for name, value in parts.learner.student.model.state_dict().items())
    assert len(parts.data.source.set_aside) == 3


def test_too_many_examples_that_do_not_fit_end_the_run(student, teacher, prompts, memory, tmp_path):
    memory.most_prompts = 0
    _, _, take = make_run(student, teacher, tmp_path, max_bad_share=0.2)
    with pytest.raises(EngineError, match=r"2 of 6 examples are set aside.*more than data.max_bad_share 0.2.*Lower"):
        take(prompts[:3], step=0, seed=SEED)


def test_the_gate_counts_an_example_once(student, teacher, prompts, memory, tmp_path):
    def run_with(folder):
        gate = AnswerGate(Coupling(update_below=0.3))
        gate.coupling.suspended = {prompt.id for prompt in prompts[:6]}  # so that some are reactivated
        _, _, take = make_run(student, teacher, tmp_path / folder, gate=gate)
        outcome = take(prompts[:6], step=0, seed=SEED)
        return outcome.num_retries, gate.coupling.metrics(), gate.coupling.state_dict()

    plain = run_with("plain")
    memory.most_prompts, memory.after = 3, 0
    memory.where = "score"
    small = run_with("small")
    assert (plain[0], small[0]) == (0, 1)
    assert small[1:] == plain[1:]
    assert small[1]["active"] + small[1]["suspended"] == 6


def test_a_step_that_has_moved_the_weights_is_not_done_again(student, teacher, prompts, memory, tmp_path):
    """The run ends, and goes on from its checkpoint in smaller pieces."""
    memory.most_prompts, memory.after = 2, 2  # the two pieces of the first update pass, those of the second do not
    _, seen, take = make_run(student, teacher, tmp_path, micro_batch_size=3, updates_per_batch=2)
    with pytest.raises(EngineError, match=r"step 5 ran out of memory, on examples .*same command.* 1 prompt at once"):
        take(prompts[:6], step=4, seed=SEED)
    assert len(seen) == 1
    assert MemoryNote.from_json(json.loads((tmp_path / "memory.json").read_text())).micro_batch_size == 1


def test_an_update_that_does_not_fit_sets_nothing_aside(student, teacher, prompts, memory, tmp_path):
    parts, _, take = make_run(student, teacher, tmp_path)

    def full():
        raise SENTENCES[0]

    parts.learner.optimizer.step = full
    with pytest.raises(EngineError, match=r"update of the weights at step 1 ran out of memory: CUDA .*freeze_vision"):
        take(prompts[:2], step=0, seed=SEED)
    assert not (tmp_path / "memory.json").exists()


@pytest.mark.parametrize("text", ["", "[1]", '{"mine": 1}', '{"micro_batch_size": "x"}'])
def test_a_note_of_another_program_is_refused_and_stays(text, tmp_path):
    path = tmp_path / "memory.json"
    path.write_text(text)
    for use in (read_note, lambda path: add_to_note(path, MemoryNote(micro_batch_size=1))):
        with pytest.raises(ConfigurationError, match="is not what a run notes when memory runs out"):
            use(path)
    assert path.read_text() == text


def test_a_note_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "memory.json"
    assert read_note(path) == MemoryNote()
    add_to_note(path, MemoryNote(micro_batch_size=4))
    add_to_note(path, MemoryNote(too_large={"a": "full"}))
    assert read_note(path) == MemoryNote(micro_batch_size=4, too_large={"a": "full"})


def test_what_counts_as_out_of_memory():
    assert all(map(is_out_of_memory, SENTENCES))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("not enough memory"))


def test_a_note_tells_all_that_it_changes():
    note = MemoryNote(micro_batch_size=1, answer_together=2, too_large={"a": "1 GiB"})
    assert describe_note(note) == "answers 2 prompts together and reads 1 prompt at once and sets aside a"
