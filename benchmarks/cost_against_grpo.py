"""What a prompt costs by Video-OPD and by GRPO with eight answers, and how much of that is the method.

    python benchmarks/cost_against_grpo.py [--repeats 3] [--answers 8] [--prompts 1]

The paper reports a fifth of GRPO's wall time. Three ways to do GRPO, two to do Video-OPD, side by side in one process
on one thread, CPU time, in turn:

- naive: the prompt is computed again for each of the eight answers, in sampling and in training, as the peers do;
- prefix: it is shared in sampling only, as an inference server with a prefix cache does;
- shared: one reading with gradient serves sampling, scoring and the backward pass.

The models and the clip are those of shared_reading.py: 640 video tokens, answers of 16 tokens, logits at answer
positions only in every path, without the optimiser. Gradients of all paths of one method
are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shared_reading import NUM_ANSWER_TOKENS, build_policy, build_prompt, full_logprobs, generate
from video_opd.objectives import group_advantage, masked_sum, policy_gradient, sampled_advantage
from video_opd.policy.load import Policy
from video_opd.types import AnswerGroup, Prompt, Sampling, flatten

Groups = tuple[AnswerGroup, ...]


class Paths:
    """One step of each kind on the same prompts and the same answers; each returns its loss, for the backward pass."""

    def __init__(self, student: Policy, teacher: Policy, prompts: list[Prompt], num_answers: int) -> None:
        self.student, self.teacher, self.prompts = student, teacher, prompts
        reading = student.read(prompts)
        for seed in range(100):  # until no answer happens to end early
            self.sampling = Sampling(max_new_tokens=NUM_ANSWER_TOKENS, seed=seed)
            self.several = student.answer(reading, count=num_answers, sampling=self.sampling)
            if {len(answer) for answer in flatten(self.several)} == {NUM_ANSWER_TOKENS}:
                break
        self.one = student.answer(reading, sampling=self.sampling)
        rewards = torch.rand(len(prompts), num_answers, generator=torch.Generator().manual_seed(0))
        self.advantage = group_advantage(rewards, divide_by_std=True).reshape(-1, 1).expand(-1, NUM_ANSWER_TOKENS)

    def opd_naive(self) -> Tensor:
        """Generate; the teacher in one pass; the student in one pass."""
        generate(self.student, self.prompts, 1)
        with torch.no_grad():
            teacher = full_logprobs(self.teacher, self.prompts, self.one)
        mine = full_logprobs(self.student, self.prompts, self.one)
        return policy_gradient(mine, mine, sampled_advantage(mine, teacher)).sum()

    def opd_shared(self) -> Tensor:
        """As this package does it."""
        reading = self.student.read(self.prompts, grad=True)
        self.student.answer(reading, sampling=self.sampling)
        teacher = self.teacher.score(self.teacher.read(self.prompts), self.one)
        mine = self.student.score(reading, self.one, grad=True)
        advantage = sampled_advantage(mine.logprobs, teacher.logprobs)
        return masked_sum(policy_gradient(mine.logprobs, mine.logprobs, advantage), mine.answer_mask)

    def grpo_naive(self) -> Tensor:
        """Generate and train on as many copies of the prompt as there are answers."""
        generate(self.student, self.prompts, len(self.several[0].answers))
        mine = full_logprobs(self.student, self.prompts, self.several)
        return policy_gradient(mine, mine, self.advantage).sum()

    def grpo_prefix(self) -> Tensor:
        """One reading for all answers when sampling; copies of the prompt when training."""
        reading = self.student.read(self.prompts)
        self.student.answer(reading, count=len(self.several[0].answers), sampling=self.sampling)
        mine = full_logprobs(self.student, self.prompts, self.several)
        return policy_gradient(mine, mine, self.advantage).sum()

    def grpo_shared(self) -> Tensor:
        """As this package does it."""
        reading = self.student.read(self.prompts, grad=True)
        self.student.answer(reading, count=len(self.several[0].answers), sampling=self.sampling)
        mine = self.student.score(reading, self.several, grad=True)
        return masked_sum(policy_gradient(mine.logprobs, mine.logprobs, self.advantage), mine.answer_mask)


def timed(student: Policy, path: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """CPU seconds of a step, and its gradient."""
    student.model.zero_grad(set_to_none=True)
    began = time.process_time()
    path().backward()
    seconds = time.process_time() - began
    return seconds, torch.cat([p.grad.flatten() for p in student.model.parameters() if p.grad is not None])


def main() -> None:
    """Measure, print, and refuse to have compared two different things."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    student = build_policy()
    teacher = build_policy(hidden=640, layers=10, intermediate=1792).freeze()
    sizes = {name: sum(p.numel() for p in policy.model.parameters()) for name, policy in
             (("student", student), ("teacher", teacher))}  # fmt: skip
    prompts = [build_prompt(student, 20, number) for number in range(arguments.prompts)]
    paths = Paths(student, teacher, prompts, arguments.answers)
    names = ("opd_naive", "opd_shared", "grpo_naive", "grpo_prefix", "grpo_shared")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gradients: dict[str, Tensor] = {}
    for repeat in range(arguments.repeats + 1):  # the first round warms up
        for name in names:
            spent, gradients[name] = timed(student, getattr(paths, name))
            if repeat:
                seconds[name].append(spent)
    for method in ("opd", "grpo"):
        same = [gradients[name] for name in names if name.startswith(method)]
        assert all((one - same[0]).norm() < 1e-4 * same[0].norm() for one in same), method
    median: dict[str, Any] = {name: statistics.median(values) for name, values in seconds.items()}
    print(json.dumps({
        "prompt_tokens": len(prompts[0]), "video_tokens": prompts[0].num_video_tokens,
        "answer_tokens": NUM_ANSWER_TOKENS, "num_answers": arguments.answers, "parameters": sizes,
        "cpu_seconds": median,
        "opd_over_grpo": {
            "both naive": median["opd_naive"] / median["grpo_naive"],
            "both shared": median["opd_shared"] / median["grpo_shared"],
            "shared over naive": median["opd_shared"] / median["grpo_naive"],
            "shared over prefix": median["opd_shared"] / median["grpo_prefix"],
        },
        "shared_over_naive": {
            "opd": median["opd_shared"] / median["opd_naive"], "grpo": median["grpo_shared"] / median["grpo_naive"],
        },
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
