"""The peak memory of a training step on one device, by the recipe and the models' configurations: no weights are read.

Every phase of a step holds some parts at once; the peak is that of the phase that holds most. docs/REAL_MODELS.md has
the comparisons with measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from video_opd.config import Recipe
from video_opd.policy.model_shape import Arithmetic, ModelShape
from video_opd.train.largest_micro_batch import Load
from video_opd.train.trained_parts import count_trained
from video_opd.train.vision_memory import count_vision_backward

GIB = 2**30
Parts = dict[str, int]
"""Bytes by part."""


@dataclass(frozen=True, kw_only=True)
class FrozenModel:
    """A teacher or a reference."""

    part: str
    """`teacher` or `reference`."""
    shape: ModelShape
    num_bytes: int
    """Of its weights, whole."""
    is_elsewhere: bool = False
    """It has devices of its own."""
    waits_on_cpu: bool = False
    """Between its turns."""
    may_share_tower: bool = False
    """Its vision tower may turn out to be the student's."""
    sees: float = 1.0
    """Tokens in its view at most, for one of the student's."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """The memory of a step on the device that needs most."""

    phases: Mapping[str, Parts]
    """By phase: bytes by part."""
    certain: Parts
    """What is on the device at once in any case: weights, gradient, optimiser, frozen models."""
    is_checkpointed: bool
    load: Load

    @property
    def phase(self) -> str:
        """The phase that holds most."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))

    @property
    def parts(self) -> Parts:
        """Bytes by part at the peak."""
        return {part: size for part, size in self.phases[self.phase].items() if size}

    @property
    def peak(self) -> int:
        """Bytes at the peak."""
        return sum(self.parts.values())

    @property
    def least(self) -> int:
        """Bytes without which no step is possible, however small the prompts are."""
        return sum(self.certain.values())

    def describe(self) -> str:
        """The parts in one line."""
        return ", ".join(f"{part} {size / GIB:.2f} GiB" for part, size in self.parts.items())


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Counts the memory of a recipe's step."""

    recipe: Recipe
    student: ModelShape
    frozen: Sequence[FrozenModel]
    load: Load
    num_processes: int = 1
    is_on_gpu: bool = False
    is_checkpointed: bool = False
    is_fused: bool = True
    """AdamW is PyTorch's fused one, as it is on a CPU and on GPUs of NVIDIA. It was not in the first measurements."""
    adds_rows: bool = True
    """Whole weights get the rows of the embedding's gradient in place. They did not in the first measurements."""

    def estimate(self) -> MemoryEstimate:
        """Count every phase of a step."""
        resident = self.count_resident()
        certain = resident | self._count_surely_beside()
        certain["teacher"] = sum(self._lie_here(model, surely=True) for model in self.frozen if model.part == "teacher")
        earlier = self._gradient if self.load.num_pieces > 1 else 0  # of the micro-batches before
        reading = self._count_reading()
        if self._is_in_one_loop and self.is_checkpointed:
            # One token loop for all: before there is a gradient, a reading is gone.
            earlier = max(0, earlier - sum(reading.values()))
        during = resident | reading | {"gradient": earlier, "bfloat16 copies": self.copies}
        answering = {"answering": self._count_answering(during)} if self.load.together else {}
        during |= self._count_waiting(during)
        judged = self._add_teacher_pass(resident)
        phases = answering | {
            next(iter(judged), "teacher"): during | judged,
            "scoring": during | self._count_scoring(during),
            "backward pass": during | self._count_backward(during),
            "optimiser": resident | {"gradient": self._gradient, "optimiser": self._optimiser + self._scratch},
        }
        if self.is_checkpointed and (vision := {"tower", "merger"} & self._trained_by_part.keys()):
            kept = count_vision_backward(self.student, self.how, self.load.patches, trains_tower="tower" in vision)
            kept += self.load.patches * self.student.patch_bytes
            phases["backward pass of vision"] = resident | {"gradient": self._gradient, "activations": kept}
        certain = {part: size for part, size in certain.items() if size}
        return MemoryEstimate(phases=phases, certain=certain, is_checkpointed=self.is_checkpointed, load=self.load)

    @property
    def _is_in_one_loop(self) -> bool:
        return self.load.num_pieces <= ceil(self.load.together / self.load.prompts)

    def _count_surely_beside(self) -> Parts:
        """Gradient and gathered weights: both at once where a step reads on with the gradient of earlier prompts."""
        parts = {"gradient": self._gradient, "bfloat16 copies": self.copies if self.num_processes > 1 else 0}
        if self.load.num_pieces > 1 and not (self._is_in_one_loop and self.is_checkpointed):
            return parts
        larger = max(parts, key=lambda part: parts[part])
        return {larger: parts[larger]}

    @property
    def how(self) -> Arithmetic:
        """In which types the student computes."""
        in_bfloat16 = self.recipe.compute.precision == "bfloat16"
        with_adapter = self.recipe.student.lora is not None
        return Arithmetic(
            compute=2 if in_bfloat16 else 4,
            residual=2 if in_bfloat16 and with_adapter else 4,
            trains_weights=not with_adapter,
            is_on_gpu=self.is_on_gpu,
        )

    @property
    def num_shards(self) -> int:
        """Processes that hold one copy of the weights together."""
        return min(self.recipe.compute.shards or self.num_processes, self.num_processes)

    @property
    def _trained_by_part(self) -> dict[str, int]:
        """Numbers of trained weights of the model itself."""
        return count_trained(self.recipe, self.student)

    @property
    def _trained(self) -> int:
        """Trained weights that a process has: its shard of the model's, and all of an adapter's."""
        return sum(self._trained_by_part.values()) // self.num_shards + self.student.num_adapter_weights

    @property
    def _gradient(self) -> int:
        return 4 * self._trained  # in the type of the weights

    @property
    def _optimiser(self) -> int:
        return 8 * self._trained  # AdamW: two means, float32

    @property
    def _scratch(self) -> int:
        """What AdamW needs while it updates: nothing where it is fused. Else a GPU takes all weights of a group at
        once, and a CPU one by one."""
        if self.is_fused:
            return 0
        largest = max((self.student.largest[part] for part in self._trained_by_part), default=0)
        if not self.is_on_gpu:
            return 2 * 4 * largest // self.num_shards
        # The embeddings are a group of their own, because they have no weight decay.
        return 4 * max(self._trained - self.student.embedding // self.num_shards, largest // self.num_shards)

    @property
    def _multiplied(self) -> int:
        """Trained weights that autocast copies: those of products, but not the head, which stays in float32."""
        heads = self.student.embedding * (1 if self.student.is_tied else 2)
        return sum(self._trained_by_part.values()) - (heads if self._trained_by_part else 0)

    @property
    def copies(self) -> int:
        """Copies in the type of the computation, which the graph holds; of split weights the gathered ones."""
        if self.num_processes > 1:
            return self.how.compute * self.student.num_all
        return 2 * self._multiplied if self.how.has_copies else 0

    @property
    def _embedding(self) -> int:
        """Bytes of a gradient of the token embedding."""
        return 4 * self.student.embedding if self._trained_by_part else 0

    @property
    def _buffers(self) -> int:
        """The gradient by the answers, which waits for that by the prompts: of each trained weight of the language
        model, in the type of its copy. Answers do not pass through vision."""
        of_vision = sum(count for part, count in self._trained_by_part.items() if part != "text")
        own = (self._multiplied - of_vision) * (2 if self.how.has_copies else 4) + 4 * self.student.num_adapter_weights
        if self.num_shards > 1 or not self.adds_rows:  # one of the embedding and one of the head, even if tied
            return own + 2 * self._embedding
        # Without earlier micro-batches this is the gradient itself.
        return own + self._embedding * (self.load.num_pieces == 1) * (1 if self.student.is_tied else 2)

    def count_resident(self) -> Parts:
        """What lies on the device from the first step to the last."""
        lora = self.recipe.student.lora
        held = self.student.count_held(self.how.residual if lora else 4, in_4_bits=bool(lora and lora.quantise))
        held = held // self.num_shards + 4 * self.student.num_adapter_weights
        parts = {"student": held, "optimiser": self._optimiser}
        for model in self.frozen:
            parts[model.part] = parts.get(model.part, 0) + self._lie_here(model)
        return parts

    def _lie_here(self, model: FrozenModel, *, surely: bool = False) -> int:
        """Bytes of a frozen model's weights between its turns; `surely` leaves out a tower that may be shared."""
        if model.is_elsewhere or model.waits_on_cpu:
            return 0
        size = model.num_bytes
        if surely and model.may_share_tower:
            size -= size * model.shape.num_weights["tower"] // model.shape.num_all
        return size // self.num_shards

    def _count_reading(self) -> Parts:
        """What a reading with gradient keeps."""
        how, shape, load, layers = self.how, self.student, self.load, self.student.layer_kinds
        trains_tower = "tower" in self._trained_by_part
        blocks = int(shape.vision.depth) if trains_tower else 0
        merges = "merger" in self._trained_by_part or trains_tower
        # The last norm's input and output.
        kept = 2 * load.tokens * int(shape.text.hidden_size) * how.residual
        if self.is_checkpointed:
            # Of every block its input, and what the cache keeps.
            kept += load.tokens * len(layers) * int(shape.text.hidden_size) * how.residual
            kept += load.patches * blocks * shape.vision_width * how.compute
            kept += load.patches * shape.vision_width * how.compute * merges
            cached = load.tokens * shape.count_cached(how)
        else:
            kept += load.tokens * sum(shape.count_kept_by_layer(kind, how) for kind in layers[:-1])
            kept += load.tokens * shape.count_kept_by_last_layer(layers[-1], how)
            kept += load.patches * blocks * shape.count_kept_by_block(how)
            kept += load.patches * shape.count_kept_by_mergers(how) * merges
            cached = load.tokens * shape.count_cached_apart(how)
        if trains_tower and how.has_copies:
            kept += load.patches * shape.patch_bytes // 2  # the pixels, for the gradient of the patch embedding
        return {"activations": kept + load.patches * shape.patch_bytes, "keys and values": cached}

    def _count_waiting(self, during: Parts) -> Parts:
        """What a step holds of several micro-batches that are answered together: with checkpointing all readings, and
        what a frozen tower gave for all of them."""
        load, shape = self.load, self.student
        if not load.together:
            return {}
        others = ceil(load.together / load.prompts) - 1 if self.is_checkpointed else 0
        width = shape.vision_width * (1 + shape.num_deepstack) * self.how.compute
        is_frozen = "tower" not in self._trained_by_part
        is_recalled = is_frozen and (not self.is_checkpointed or bool(self.frozen))
        pixels = load.patches * shape.patch_bytes if is_frozen else 0  # those of a frozen tower are in no graph
        return {
            "activations": during["activations"] + others * (during["activations"] - pixels),
            "keys and values": (1 + others) * during["keys and values"],
            "vision features": load.together * load.patches // load.prompts * width if is_recalled else 0,
        }

    def _count_answering(self, during: Parts) -> Parts:
        """The token loop of several micro-batches: their keys and values as one batch, and once more in the cache."""
        how, shape, load = self.how, self.student, self.load
        waiting = self._count_waiting(during)
        if not self.is_checkpointed:  # they are read without gradient
            waiting |= {"activations": 0, "keys and values": 0}
        tokens = load.together * load.tokens // load.prompts
        # Of one layer they are there for every head.
        joined = tokens * (2 * shape.count_cached(how) + 2 * shape.query_size * how.compute)
        # Logits, log-probs, and what a draw makes of them in double precision.
        return (
            during
            | waiting
            | {
                "keys and values": waiting["keys and values"] + joined,
                "distributions": 32 * (load.together * load.answers // load.prompts) * int(shape.text.vocab_size),
            }
        )

    def _count_scoring(self, during: Parts) -> Parts:
        """The end of scoring: its graph is there, and the backward pass begins."""
        how, shape, load = self.how, self.student, self.load
        attending = 1 if self.is_checkpointed else shape.layer_kinds.count("full_attention")
        # Keys and values of prompt and answers, one for every head, because there is a mask.
        repeated = 2 * (load.tokens + load.rows) * attending * shape.query_size * how.compute
        own = load.rows * sum(shape.count_kept_by_layer(kind, how) for kind in shape.layer_kinds)
        return {
            "activations": during["activations"] + own,
            "keys and values": during["keys and values"] + repeated,
            "distributions": self._count_distributions(),
            "gradient": during["gradient"] + self._embedding,
        }

    def _count_distributions(self) -> int:
        """At every answer token over the vocabulary, in float32.

        Kept are the student's log-probs, and with `exact` the teacher's. The backward pass adds the gradient of the
        log-probs and that of the logits.
        """
        row = 4 * int(self.student.text.vocab_size)
        full, load = self.recipe.method.needs_distribution, self.load
        size = (4 if full else 3) * load.rows * row
        if full and self.recipe.training.updates_per_batch > 1:
            size += load.num_pieces * load.rows * row  # the teacher's, of the whole batch
        if self.how.residual == 2:  # a head that is held in bfloat16 computes in float32
            size += 4 * self.student.embedding
        return size

    def _count_backward(self, during: Parts) -> Parts:
        """Between the answers' part of the backward pass and the reading's, whose activations are all there."""
        how, shape, load = self.how, self.student, self.load
        again = 0
        if self.is_checkpointed:  # one layer's activations are there again
            again = load.tokens * max(shape.count_kept_by_layer(kind, how) for kind in set(shape.layer_kinds))
        # The gradients of keys and values, which came through the answers.
        cached = load.tokens * shape.count_cached(how)
        return {
            "activations": during["activations"] + again,
            "keys and values": during["keys and values"] + cached,
            "gradient": during["gradient"] + self._buffers,
        }

    def _add_teacher_pass(self, resident: Parts) -> Parts:
        """A frozen model at work: weights that wait on the CPU, keys and values, a layer's activations, logits."""
        most: Parts = {}
        for model in self.frozen:
            if model.is_elsewhere or (model.part == "teacher" and not self.recipe.method.needs_teacher):
                continue
            shape, load, width = model.shape, self.load, self.how.compute
            text, hidden = shape.text, int(shape.text.hidden_size)
            inner = int(getattr(text, "intermediate_size", None) or text.moe_intermediate_size)
            how = Arithmetic(compute=width, residual=width, trains_weights=True)
            size = int(model.sees * load.tokens) * (shape.count_cached(how) + width * (3 * inner + 4 * hidden))
            size += 2 * 4 * load.rows * int(text.vocab_size)
            size += 4 * shape.embedding if width == 2 else 0  # its head computes in float32
            waiting = model.num_bytes if model.waits_on_cpu else 0
            gathered = 2 * model.num_bytes // len(shape.layer_kinds) if self.num_shards > 1 else 0
            total = resident.get(model.part, 0) + size + waiting + gathered
            if total > sum(most.values()):
                most = {model.part: total}
        return most
