"""The seconds of a training step, by phase: operations over a card's rate, launches of kernels, traffic of memory, and
what is sent between cards.

The shares and the times of a launch are those of the H100 and the H200 in benchmarks/gpu/results; `plan_accuracy.json`
says how far the estimate is from them. Decoding of videos and waiting for other processes are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from video_opd.config import Recipe
from video_opd.plan.cards import GPUS_PER_NODE, NETWORK_GBS, GpuCard
from video_opd.plan.model_flops import Flops, ModelFlops
from video_opd.plan.step_flops import Judge, StepFlops, StepWork, group_judges
from video_opd.policy.model_shape import ModelShape
from video_opd.train.trained_parts import count_trained

SHARE_OF_RATE = 0.40
"""Of a card's bfloat16 rate, in a pass forward over a prompt."""
BACKWARD_SHARE = 0.36
"""The same in a backward pass."""
FLOAT32_RATE = 1 / 15
"""Rate of float32 products, without TF32, over that of bfloat16."""
AUTOCAST_BYTES = 800
"""Memory traffic of a float32 student under autocast, for each token, layer and number of the hidden state: norms and
additions in float32, and casts before every product."""
LAYER_S = 1.4e-3
"""Of a layer of the language model to launch its kernels, in a pass forward."""
SCORE_LAYER_S = 1.75e-3
"""The same over several answer tokens with a mask."""
BACKWARD_LAYER_S = 2.6e-3
"""The same in the backward pass of one graph; a step has two, of the reading and of the answers."""
GROUP_BLOCK_S = 64e-6
"""Of a block of the vision tower for one temporal group: attention is called once for each."""
STEP_BYTES = 124
"""Memory traffic of clipping and AdamW for each trained weight, as measured before AdamW was fused."""
LINK_SHARE = 0.7
"""Of the bandwidth between cards."""
COPY_GBS = 25.0
"""From the memory of the CPU to a card, in GB/s."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Estimates the seconds of a recipe's step on one process."""

    recipe: Recipe
    student: ModelShape
    judges: Sequence[Judge]
    work: StepWork
    card: GpuCard
    num_processes: int = 1
    is_checkpointed: bool = False

    def count_flops(self) -> Mapping[str, Flops]:
        """Operations by phase, of one process and one step."""
        return StepFlops(
            recipe=self.recipe,
            student=self.student,
            judges=self.judges,
            work=self.work,
            is_checkpointed=self.is_checkpointed,
        ).count()

    def estimate(self) -> Mapping[str, float]:
        """Seconds by phase, of one step."""
        flops = self.count_flops()
        updates = self.recipe.training.updates_per_batch
        return {
            "read": (updates + self.work.is_read_twice) * self._read_text(self.student, self._is_autocast)
            + self._read_vision(self.student),
            "answer": 0.0 if self.recipe.method.writes_annotations else self._answer(flops["answer"]),
            **{phase: sum(map(self._judge, judges)) for phase, judges in group_judges(self.judges).items()},
            "score": updates * self._pass(self.student, flops["score"], SCORE_LAYER_S),
            "backward": self._backward(flops["backward"]),
            "step": updates * STEP_BYTES * self._count_stepped() / self._bandwidth,
            "communication": self._communicate(),
        }

    def answer_pool(self, shape: ModelShape, num_answers: int, *, num_bytes: int = 0) -> float:
        """Seconds to read a prompt and write answers to it, without gradient: as `score` and evaluations do it, with so
        many prompts in one token loop as the recipe says.

        Args:
            shape: of the model that answers.
            num_answers: to a prompt.
            num_bytes: of its weights, where they are gathered anew for every pass: those of a teacher in a job.
        """
        count = self.recipe.compute.evaluation_batch_size
        several = {"prompts": count, "num_pieces": 1, "num_loops": 1, "answers": num_answers}
        work = StepWork(**{**vars(self.work), **several})
        batch = StepTime(recipe=self.recipe, student=shape, judges=(), work=work, card=self.card)
        written = batch._answer(count * ModelFlops(shape=shape).follow(work.tokens, work.rows, work.answer_tokens))
        gathered = (1 + work.answer_tokens) * num_bytes * (1 - 1 / self._shards) / self._link(self._shards)
        return (batch._read_text(shape, is_autocast=False) + batch._read_vision(shape) + written + gathered) / count

    @property
    def _rate(self) -> float:
        in_bfloat16 = self.recipe.compute.precision == "bfloat16"
        return 1e12 * self.card.tflops * (1 if in_bfloat16 else FLOAT32_RATE)

    @property
    def _bandwidth(self) -> float:
        return 1e12 * self.card.bandwidth_tbs

    @property
    def _is_autocast(self) -> bool:
        """Whether the student has float32 weights under autocast; shards are gathered in bfloat16."""
        recipe = self.recipe
        return recipe.compute.precision == "bfloat16" and recipe.student.lora is None and self.num_processes == 1

    def _pass(self, shape: ModelShape, flops: Flops, launch_s: float = LAYER_S) -> float:
        """A pass forward of every micro-batch."""
        return self.work.num_pieces * len(shape.layer_kinds) * launch_s + flops.total / (self._rate * SHARE_OF_RATE)

    def _read_text(self, shape: ModelShape, is_autocast: bool) -> float:
        work = self.work
        seconds = self._pass(shape, work.prompts * ModelFlops(shape=shape).read_text(work.tokens))
        if is_autocast:
            numbers = work.prompts * work.tokens * len(shape.layer_kinds) * int(shape.text.hidden_size)
            seconds += numbers * AUTOCAST_BYTES / self._bandwidth
        return seconds

    def _read_vision(self, shape: ModelShape) -> float:
        """Either the products or the launches take longer; once for each clip and step."""
        work = self.work
        flops = work.prompts * ModelFlops(shape=shape).read_vision(work.patches, work.groups)
        launched = work.prompts * work.groups * int(shape.vision.depth) * GROUP_BLOCK_S
        times = self.recipe.training.updates_per_batch if "tower" in count_trained(self.recipe, self.student) else 1
        return times * max(launched, flops.total / (self._rate * SHARE_OF_RATE))

    def _answer(self, flops: Flops) -> float:
        """Token by token: launches, or the weights and the kept keys and values that every token reads."""
        work, shape = self.work, self.student
        read: float = 2 * shape.num_active
        loops = work.num_loops or work.num_pieces
        read += 4 * work.prompts / loops * work.tokens * len(shape.layer_kinds) * shape.key_size
        token = max(len(shape.layer_kinds) * LAYER_S, read / self._bandwidth)
        return loops * work.answer_tokens * token + flops.total / (self._rate * SHARE_OF_RATE)

    def _judge(self, judge: Judge) -> float:
        work, model = self.work.see(judge.sees), ModelFlops(shape=judge.shape)
        view = replace(self, work=work)
        seconds = view._read_text(judge.shape, is_autocast=False)
        rows = model.follow(work.tokens, work.rows, work.answer_tokens)
        seconds += self._pass(judge.shape, work.prompts * rows)
        shares_vision = judge.is_student and judge.sees == 1 and "tower" not in count_trained(self.recipe, self.student)
        return judge.share * (seconds + (0.0 if shares_vision else view._read_vision(judge.shape)))

    def _backward(self, flops: Flops) -> float:
        layers, updates = len(self.student.layer_kinds), self.recipe.training.updates_per_batch
        launches = 2 * layers * (BACKWARD_LAYER_S + LAYER_S * self.is_checkpointed)
        return updates * self.work.num_pieces * launches + flops.total / (self._rate * BACKWARD_SHARE)

    @property
    def _shards(self) -> int:
        return min(self.recipe.compute.shards or self.num_processes, self.num_processes)

    def _count_stepped(self) -> float:
        whole = sum(count_trained(self.recipe, self.student).values())
        return whole / self._shards + self.student.num_adapter_weights

    def _communicate(self) -> float:
        """Student and gradient go round once for each micro-batch, a teacher twice: it reads and scores."""
        recipe, pieces, updates = self.recipe, self.work.num_pieces, self.recipe.training.updates_per_batch
        teachers = recipe.name_teachers().values()
        if any(teacher.offload for teacher in teachers):
            return pieces * sum(judge.share * judge.num_bytes for judge in self.judges) / (1e9 * COPY_GBS)
        if self.num_processes == 1:
            return 0.0
        shards, trained = self._shards, sum(count_trained(recipe, self.student).values())
        width = 2 if recipe.compute.precision == "bfloat16" else 4
        moved: float = pieces * updates * (width * self.student.num_all + 4 * trained)
        moved += pieces * sum(2 * judge.share * judge.num_bytes for judge in self.judges if not judge.is_student)
        seconds = moved * (1 - 1 / shards) / self._link(shards)
        replicas = self.num_processes // shards
        if replicas > 1:  # every gradient there and back
            summed = 4 * (trained / shards + self.student.num_adapter_weights)
            seconds += updates * 2 * summed * (1 - 1 / replicas) / self._link(self.num_processes)
        return seconds

    def _link(self, span: int) -> float:
        """Bytes a second of a card, where so many are in the ring."""
        speed = self.card.link_gbs if span <= GPUS_PER_NODE else min(self.card.link_gbs, NETWORK_GBS)
        return 1e9 * LINK_SHARE * speed
