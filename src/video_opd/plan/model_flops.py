"""The floating-point operations of a model's passes, by its configuration: a multiplication and an addition are two.

Counted are matrix products and attention. Attention over a prompt is causal, so half of the square is counted. Of a
mixture of experts the chosen experts count. Norms, activations and rotations are left out: they take time by the memory
that they touch, not by their operations.
"""

from __future__ import annotations

from dataclasses import dataclass

from video_opd.policy.model_shape import CHUNK, ModelShape


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Operations of a pass."""

    products: float = 0.0
    """Of products with weights."""
    attention: float = 0.0
    """Of queries with keys, and of attention with values; of the state of recurrent layers."""

    @property
    def total(self) -> float:
        """Operations of both kinds."""
        return self.products + self.attention

    def __add__(self, other: Flops) -> Flops:
        """The sum of two passes."""
        return Flops(products=self.products + other.products, attention=self.attention + other.attention)

    def __mul__(self, factor: float) -> Flops:
        """As many times a pass."""
        return Flops(products=self.products * factor, attention=self.attention * factor)

    __rmul__ = __mul__


@dataclass(frozen=True, kw_only=True)
class ModelFlops:
    """Counts the operations of one model."""

    shape: ModelShape

    def read_text(self, tokens: float) -> Flops:
        """A prompt through the language model, forward: to the keys and values of its last layer. The head is left out:
        it sees one token.

        Args:
            tokens: of the prompt.
        """
        kinds = self.shape.layer_kinds
        products = 2 * tokens * (sum(map(self.shape.count_active, kinds)) - self._count_after_keys())
        attending = kinds.count("full_attention") - self._ends_with_attention
        attention = attending * 2 * tokens**2 * self.shape.query_size
        attention += tokens * self._count_recurrences(in_chunks=True)
        return Flops(products=products, attention=attention)

    def read_last_queries(self, tokens: float) -> Flops:
        """What of `read_text` has no gradient: the queries of the last layer, which nothing depends on.

        Args:
            tokens: of the prompt.
        """
        return Flops(products=2 * tokens * self._count_queries() * self._ends_with_attention)

    def follow(self, prompt_tokens: float, rows: float, answer_tokens: float) -> Flops:
        """Answer tokens behind a reading, through the language model and its head, forward.

        Args:
            prompt_tokens: that each of them sees.
            rows: answer tokens in all.
            answer_tokens: of one answer.
        """
        layers = self.follow_layers(prompt_tokens, rows, answer_tokens)
        return layers + Flops(products=2 * rows * self.shape.head)

    def follow_layers(self, prompt_tokens: float, rows: float, answer_tokens: float) -> Flops:
        """The same without the head.

        Args:
            prompt_tokens: that each of them sees.
            rows: answer tokens in all.
            answer_tokens: of one answer.
        """
        kinds = self.shape.layer_kinds
        seen = prompt_tokens + answer_tokens / 2
        attention = kinds.count("full_attention") * 4 * rows * seen * self.shape.query_size
        attention += rows * self._count_recurrences(in_chunks=False)
        return Flops(products=sum(2 * rows * self.shape.count_active(kind) for kind in kinds), attention=attention)

    def read_vision(self, patches: float, groups: float) -> Flops:
        """A video through the vision tower and its mergers, forward.

        Args:
            patches: of the video.
            groups: temporal groups of the video; a patch sees its group, or its window of it.
        """
        return self.read_tower(patches, groups) + self.merge(patches)

    def read_tower(self, patches: float, groups: float) -> Flops:
        """The tower alone.

        Args:
            patches: of the video.
            groups: temporal groups of the video.
        """
        shape, vision = self.shape, self.shape.vision
        width, depth = shape.vision_width, int(vision.depth)
        inner = shape.vision_inner * (3 if shape.family.kept_by_vision_block[1] == 4 else 2)
        products = 2 * patches * depth * width * (4 * width + inner) + self.embed_patches(patches).products
        seen = patches / max(1, groups)
        whole = getattr(vision, "fullatt_block_indexes", None)
        in_windows = 0 if whole is None else depth - len(whole)
        window = min(seen, (getattr(vision, "window_size", 0) / vision.patch_size) ** 2)
        attention = 4 * patches * width * ((depth - in_windows) * seen + in_windows * window)
        return Flops(products=products, attention=attention)

    def embed_patches(self, patches: float) -> Flops:
        """The first product of the tower alone: nothing needs the gradient of its input.

        Args:
            patches: of the video.
        """
        return Flops(products=2 * patches * self.shape.vision_width * self.shape.patch_bytes / 4)

    def merge(self, patches: float) -> Flops:
        """The mergers alone.

        Args:
            patches: of the video.
        """
        tokens = patches / self.shape.patches_per_token
        inner = self.shape.vision_width * self.shape.patches_per_token
        out = int(self.shape.text.hidden_size)
        return Flops(products=2 * tokens * (1 + self.shape.num_deepstack) * inner * (inner + out))

    def skip_text(self, tokens: float, rows: float) -> Flops:
        """What is not computed again of the language model where it is checkpointed: the last product of every layer,
        because nothing needs its result.

        Args:
            tokens: that are read.
            rows: answer tokens.
        """
        text = self.shape.text
        if getattr(text, "num_experts_per_tok", None):  # experts' results are weighted, which needs them
            return Flops()
        last = int(text.hidden_size) * int(text.intermediate_size)
        layers = len(self.shape.layer_kinds)
        return Flops(products=2 * last * (tokens * (layers - self._ends_with_attention) + rows * layers))

    def skip_vision(self, patches: float) -> Flops:
        """The same of the vision tower and its mergers, and the first product of the tower, which is not checkpointed.

        Args:
            patches: of the video.
        """
        shape = self.shape
        tower = int(shape.vision.depth) * shape.vision_width * shape.vision_inner
        merged = (1 + shape.num_deepstack) * shape.vision_width * int(shape.text.hidden_size)
        return Flops(products=2 * patches * (tower + merged)) + self.embed_patches(patches)

    @property
    def _ends_with_attention(self) -> int:
        """1 where the last layer has attention, so that a reading ends with its keys and values; else 0."""
        return int(self.shape.layer_kinds[-1] == "full_attention")

    def _count_queries(self) -> int:
        gated = 2 if self.shape.family.has_gated_attention else 1
        return int(self.shape.text.hidden_size) * gated * self.shape.query_size

    def _count_after_keys(self) -> int:
        """Weights of the last layer that a reading does not reach."""
        if not self._ends_with_attention:
            return 0
        keys = 2 * int(self.shape.text.hidden_size) * self.shape.key_size
        return self.shape.count_active("full_attention") - keys - self._count_queries()

    def _count_recurrences(self, *, in_chunks: bool) -> float:
        """Operations of the states of all gated delta-nets for one token; in chunks, as transformers' own code reads a
        prompt."""
        text, num_layers = self.shape.text, self.shape.layer_kinds.count("linear_attention")
        if not num_layers:
            return 0.0
        keys, values = int(text.linear_key_head_dim), int(text.linear_value_head_dim)
        per_head = 6 * keys * values
        if in_chunks:
            per_head += 2 * CHUNK * (3 * keys + 2 * values) + CHUNK**2
        return float(num_layers * int(text.linear_num_value_heads) * per_head)
