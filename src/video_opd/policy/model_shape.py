"""How large a model is, by its configuration alone: its weights, and what a pass with gradient keeps of a token.

The model is built on the meta device, so nothing is read and nothing is allocated. What a block keeps is counted from
the modules of transformers, tensor by tensor; `tests/policy/test_model_shape.py` compares it with what autograd saves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from video_opd.errors import ConfigurationError
from video_opd.policy.adapters import list_linear
from video_opd.policy.description import make_empty
from video_opd.policy.families import Family
from video_opd.policy.lora_settings import LoraSettings, choose_targets

BYTES_IN_4_BITS = 0.5 + 4 / 64
"""Of a weight that bitsandbytes holds in 4 bits: 64 of them share a scale in float32."""

MOST_LAYERS = 1000
"""A configuration with more is broken; building it would take hours."""

CHUNK = 64
"""Tokens that the recurrent layers of transformers compute together."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """In which types a student computes, and which of its blocks' weights have a gradient."""

    compute: int
    """Bytes of a number in a matrix product: 4 in float32, 2 in bfloat16."""
    residual: int
    """Bytes of a number between blocks. Embeddings of float32 stay float32 under autocast."""
    trains_weights: bool
    """Whether the blocks' own weights are trained; if not, adapters beside them are."""
    is_on_gpu: bool = False

    @property
    def has_copies(self) -> bool:
        """Whether each linear layer keeps a copy of its input: autocast casts a tensor again for every product."""
        return self.compute != 4


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A model's sizes."""

    config: Any
    family: Family
    num_weights: Mapping[str, int]
    """Numbers of weights by part: text, tower, merger."""
    embedding: int
    """Of the token embedding, which is in `text`."""
    is_tied: bool
    """Whether the output head is the token embedding."""
    largest: Mapping[str, int]
    """Numbers in the largest tensor of each part."""
    num_adapter_weights: int = 0

    @property
    def num_all(self) -> int:
        """All weights, without an adapter."""
        return sum(self.num_weights.values())

    def count_held(self, width: int, *, in_4_bits: bool = False) -> int:
        """Bytes of the weights.

        Args:
            width: of a weight.
            in_4_bits: the linear layers of the language model are quantised. Experts are no linear layers.
        """
        if not in_4_bits or hasattr(self.text, "num_experts_per_tok"):
            return width * self.num_all
        linear = self.num_weights["text"] - self.embedding * (1 if self.is_tied else 2)
        return int(BYTES_IN_4_BITS * linear) + width * (self.num_all - linear)

    @cached_property
    def text(self) -> Any:
        """Configuration of the language model."""
        return self.config.get_text_config()

    @property
    def vision(self) -> Any:
        """Configuration of the vision model."""
        return self.config.vision_config

    @property
    def patches_per_token(self) -> int:
        """Patches of the vision tower behind one video token."""
        return self.family.merge_size_of(self.config) ** 2

    @cached_property
    def layer_kinds(self) -> list[str]:
        """The kind of every layer of the language model."""
        return list(getattr(self.text, "layer_types", None) or ["full_attention"] * self.text.num_hidden_layers)

    @property
    def query_size(self) -> int:
        """Width of a layer's queries."""
        return int(self.text.num_attention_heads * self._head_size)

    @property
    def key_size(self) -> int:
        """Width of a layer's keys, and of its values."""
        return int(self.text.num_key_value_heads * self._head_size)

    @property
    def _head_size(self) -> int:
        text = self.text
        return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)

    @property
    def num_deepstack(self) -> int:
        """Mergers beside the last one."""
        return len(getattr(self.vision, "deepstack_visual_indexes", None) or ())

    @property
    def patch_bytes(self) -> int:
        """Pixels of a patch, in float32."""
        vision = self.vision
        channels = getattr(vision, "in_channels", 3)
        return int(4 * channels * self.family.frames_per_group * vision.patch_size**2)

    @property
    def vision_width(self) -> int:
        """Width of the vision tower."""
        return int(getattr(self.vision, "embed_dim", None) or self.vision.hidden_size)

    @property
    def num_active(self) -> int:
        """Weights of the language model that one token meets, the head included."""
        return sum(map(self.count_active, self.layer_kinds)) + self.head

    @property
    def head(self) -> int:
        """Weights of the output head."""
        return int(self.text.hidden_size) * int(self.text.vocab_size)

    def count_active(self, kind: str) -> int:
        """Weights of a layer's products that one token meets: of a mixture those of the chosen experts.

        Args:
            kind: of the layer.
        """
        text = self.text
        hidden = int(text.hidden_size)
        if kind == "linear_attention":
            heads = int(text.linear_num_value_heads)
            values = heads * int(text.linear_value_head_dim)
            mixed = 2 * int(text.linear_num_key_heads) * int(text.linear_key_head_dim) + values
            mixer = hidden * (mixed + 2 * values + 2 * heads) + mixed * int(text.linear_conv_kernel_dim)
        else:
            gated = 2 if self.family.has_gated_attention else 1
            mixer = hidden * ((gated + 1) * self.query_size + 2 * self.key_size)
        chosen = getattr(text, "num_experts_per_tok", None)
        if not chosen:
            return mixer + 3 * hidden * int(text.intermediate_size)
        shared = int(getattr(text, "shared_expert_intermediate_size", 0) or 0)
        router = hidden * int(text.num_experts) + (hidden if shared else 0)
        return mixer + router + 3 * hidden * (chosen * int(text.moe_intermediate_size) + shared)

    def count_kept_by_layer(self, kind: str, how: Arithmetic) -> int:
        """Bytes that a layer of the language model keeps of a token for its backward pass.

        Two norms: each keeps its input in float32, and what it gives before its weight where that is trained. Then the
        inputs of linear layers, and the rest of attention and MLP.
        """
        hidden, is_recurrent = int(self.text.hidden_size), kind == "linear_attention"
        readers = (4 if is_recurrent else 3) + 2
        kept = 2 * self._keep_norm(hidden, how.residual, how)
        kept += self._keep_inputs(hidden, readers, how, groups=2)
        kept += self._keep_recurrence(how) if is_recurrent else self._keep_attention(how)
        return kept + self._keep_mlp(how)

    def count_kept_by_last_layer(self, kind: str, how: Arithmetic) -> int:
        """Bytes that the last layer keeps of a prompt's token: it ends with its keys and values (`policy.last_layer`),
        but for a recurrent one."""
        if kind != "full_attention":
            return self.count_kept_by_layer(kind, how)
        hidden = int(self.text.hidden_size)
        kept = self._keep_norm(hidden, how.residual, how) + self._keep_inputs(hidden, 2, how)
        if self.family.has_head_norms:
            kept += self._keep_norm(self.key_size, how.compute, how)
        return kept + how.compute * 2 * self.key_size

    def _keep_norm(self, width: int, given: int, how: Arithmetic) -> int:
        normed = (4 if self.family.has_gated_attention else given) if how.trains_weights else 0
        return width * (4 + normed)

    @staticmethod
    def _keep_inputs(width: int, readers: int, how: Arithmetic, groups: int = 1) -> int:
        """Of `readers` linear layers that share `groups` inputs."""
        return width * how.compute * (readers if how.has_copies else groups)

    def _keep_attention(self, how: Arithmetic) -> int:
        query, key = self.query_size, self.key_size
        kept = 0
        if self.family.has_head_norms:
            kept += self._keep_norm(query + key, how.compute, how)
        kept += how.compute * (query + 2 * key)  # queries, keys and values as attention sees them
        kept += how.compute * query + 4 * int(self.text.num_attention_heads)  # what it gives, and its normaliser
        if not how.trains_weights and how.has_copies:
            kept += how.compute * query  # an adapter's input goes through float32
        if self.family.has_gated_attention:  # the gate is in the same product as the queries
            kept += how.compute * 3 * query
        return kept

    def _keep_mlp(self, how: Arithmetic) -> int:
        text = self.text
        num_chosen = getattr(text, "num_experts_per_tok", None)
        if not num_chosen:
            return 4 * int(text.intermediate_size) * how.compute  # gate, its activation, up, and their product
        width = int(text.moe_intermediate_size)
        # Every expert's input and output, gate and up in one tensor, the activation and the product.
        kept = num_chosen * (2 * int(text.hidden_size) + 4 * width) * how.compute + 12 * int(text.num_experts)
        return kept + 4 * int(getattr(text, "shared_expert_intermediate_size", 0)) * how.compute

    def _keep_recurrence(self, how: Arithmetic) -> int:
        """Of a gated delta-net, as transformers' own code computes it: in float32, in chunks."""
        text = self.text
        heads, size = int(text.linear_num_value_heads), int(text.linear_key_head_dim)
        keys, values = heads * size, heads * int(text.linear_value_head_dim)
        mixed = 2 * int(text.linear_num_key_heads) * size + values
        inside = 8 * keys + 9 * values  # keys and queries, raw, normed, decayed; values, raw, new, normed, gated
        inside += 5 * CHUNK * heads  # decays and products of every two tokens of a chunk
        inside += keys * int(text.linear_value_head_dim) // CHUNK  # the state before every chunk
        return 3 * mixed * how.compute + 4 * inside

    def count_cached(self, how: Arithmetic) -> int:
        """Bytes that a reading keeps of a token: keys and values of the layers with attention.

        Under autocast the rotation makes float32 keys.
        """
        return self.layer_kinds.count("full_attention") * self.key_size * (how.residual + how.compute)

    def count_cached_apart(self, how: Arithmetic) -> int:
        """What of `count_cached` is not in `count_kept_by_layer` anyway: keys that attention sees in another type."""
        differs = how.residual != how.compute
        return self.layer_kinds.count("full_attention") * self.key_size * how.residual if differs else 0

    def count_kept_by_block(self, how: Arithmetic) -> int:
        """Bytes that a block of a trained vision tower keeps of a patch for its backward pass."""
        width, inner = self.vision_width, self.vision_inner
        # Queries, keys and values in one product; queries and keys rotated; each group's output, and all together.
        kept = (3 + 2 + 2) * width
        norms, inners = self.family.kept_by_vision_block
        kept += norms * width + inners * inner
        # A layer norm on a GPU computes in float32 under autocast, and keeps its input so.
        return kept * how.compute + (4 * width if how.compute == 2 and how.is_on_gpu else 0)

    @property
    def vision_inner(self) -> int:
        """Width of the MLP of the vision tower."""
        ratio = getattr(self.vision, "mlp_ratio", 4)
        return int(getattr(self.vision, "intermediate_size", None) or self.vision_width * ratio)

    def count_kept_by_mergers(self, how: Arithmetic) -> int:
        """Bytes that trained mergers keep of a patch: each its normed input and two inner tensors, and one input."""
        return (3 * (1 + self.num_deepstack) + 1) * self.vision_width * how.compute


def _refuse_sizes(name: str, config: Any, family: Family) -> None:
    """Refuse a configuration with a size that is no number, or not above 0."""
    text, vision = config.get_text_config(), config.vision_config
    sizes = {
        "hidden size": text.hidden_size,
        "number of layers": text.num_hidden_layers,
        "number of attention heads": text.num_attention_heads,
        "vocabulary": text.vocab_size,
        "depth of the vision tower": vision.depth,
        "size of a patch": vision.patch_size,
        "patches of a video token": family.merge_size_of(config),
    }
    if hasattr(text, "num_experts_per_tok"):
        sizes["width of an expert"] = getattr(text, "moe_intermediate_size", None)
        sizes["number of experts"] = getattr(text, "num_experts", None)
        sizes["number of experts of a token"] = text.num_experts_per_tok
    else:
        sizes["width of the MLP"] = getattr(text, "intermediate_size", None)
    if text.num_hidden_layers and isinstance(text.num_hidden_layers, int) and text.num_hidden_layers > MOST_LAYERS:
        raise ConfigurationError(
            f"model {name!r}: its config.json gives {text.num_hidden_layers} as the number of layers",
            reason=f"no model has more than {MOST_LAYERS}",
            remedy="download or save the folder again",
        )
    for what, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ConfigurationError(
                f"model {name!r}: its config.json gives {size} as the {what}",
                reason="a model has a whole number above 0 there",
                remedy="download or save the folder again",
            )


def measure_shape(name: str, config: Any, family: Family, lora: LoraSettings | None = None) -> ModelShape:
    """Count a model's weights without reading any.

    Args:
        name: of the model, for messages.
        config: of transformers.
        family: of the model.
        lora: an adapter that is trained beside it.

    Raises:
        ConfigurationError: transformers cannot build such a model, or a target of the adapter does not exist.
    """
    _refuse_sizes(name, config, family)
    model = make_empty(name, config)
    counts = {"text": 0, "tower": 0, "merger": 0}
    largest = dict.fromkeys(counts, 0)
    for key, parameter in model.named_parameters():
        part = family.vision_part(key) or "text"
        counts[part] += parameter.numel()
        largest[part] = max(largest[part], parameter.numel())
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    adapter = 0
    if lora is not None:
        modules = dict(model.named_modules())
        targets = choose_targets(name, family, lora.targets, list_linear(model))
        adapter = sum(lora.rank * sum(modules[target].weight.shape) for target in targets)
    return ModelShape(
        config=config,
        family=family,
        num_weights=counts,
        embedding=embedding.numel(),
        is_tied=head is embedding,
        largest=largest,
        num_adapter_weights=adapter,
    )
