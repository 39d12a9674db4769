"""The models of a recipe by their configurations: sizes, and bytes of weights."""

from __future__ import annotations

from collections.abc import Iterator

from video_opd.config import Recipe
from video_opd.policy.device import find_device
from video_opd.policy.families import find_family
from video_opd.policy.lora_settings import LoraSettings
from video_opd.policy.model_shape import ModelShape, measure_shape
from video_opd.policy.published_shapes import read_config
from video_opd.policy.quantised import DEQUANTISED, FP8_CAPABILITY
from video_opd.policy.weights_files import measure_files
from video_opd.train.build_models import place_teacher
from video_opd.train.build_views import count_denser
from video_opd.train.memory_estimate import FrozenModel

_BYTES_PER_WEIGHT = {"bitsandbytes": 0.6, "awq": 0.6, "gptq": 0.6}
"""Of a quantised model on the hub, where the size of its files is not at hand; of other methods 1."""


def measure_student(recipe: Recipe) -> ModelShape:
    """The sizes of a recipe's student."""
    return measure_model(recipe.student.model, recipe.student.lora)


_MEASURED: dict[tuple[str, str, LoraSettings | None], ModelShape] = {}


def measure_model(name: str, lora: LoraSettings | None = None) -> ModelShape:
    """Measure a model's sizes; each configuration is looked at once.

    Args:
        name: a folder, a hub name, or a bundled model.
        lora: an adapter that is trained beside it.

    Raises:
        ConfigurationError: a model that cannot be described.
    """
    config, _, _ = read_config(name)
    key = (name, config.to_json_string(), lora)
    if key not in _MEASURED:
        _MEASURED[key] = measure_shape(name, config, find_family(config, name), lora)
    return _MEASURED[key]


def list_frozen(
    recipe: Recipe, student: ModelShape, capability: float, longest_s: float | None = None
) -> Iterator[FrozenModel]:
    """The teachers and the reference of a recipe.

    Args:
        recipe: names them.
        student: its sizes.
        capability: compute capability of the GPU, 0 where there is none.
        longest_s: of the clips, if known.
    """
    width = 2 if recipe.compute.precision == "bfloat16" else 4
    device = find_device(recipe.compute.device)
    has_copy = False
    for teacher in recipe.name_teachers().values():
        is_student = teacher.model == recipe.student.model
        if is_student and (recipe.student.lora is not None or (has_copy and not teacher.has_place)):
            continue  # the student without its adapter, or one copy for several parts
        has_copy |= is_student and not (teacher.has_place or teacher.is_changing)
        place, shape = place_teacher(recipe, teacher), measure_model(teacher.model)
        yield FrozenModel(
            part="teacher",
            shape=shape,
            num_bytes=count_weight_bytes(teacher.model, shape, width, capability)
            + (4 * shape.num_all if teacher.average is not None and width < 4 else 0),
            is_elsewhere=place is not None and device not in place.devices,
            waits_on_cpu=place is not None and place.offload,
            may_share_tower=recipe.student.freeze_vision,
            sees=count_denser(recipe, teacher.view, student, longest_s),
        )
    if recipe.method.needs_reference and recipe.student.lora is None and not has_copy:
        size, may_share = width * student.num_all, recipe.student.freeze_vision
        yield FrozenModel(part="reference", shape=student, num_bytes=size, may_share_tower=may_share)


def count_weight_bytes(name: str, shape: ModelShape, width: int, capability: float = FP8_CAPABILITY) -> int:
    """Count the bytes of a frozen model's weights. Of a quantised one the size of its files tells, where they are at
    hand.

    Args:
        name: of the model.
        shape: its sizes.
        width: bytes of a weight that is not quantised.
        capability: compute capability of the GPU, 0 where there is none.
    """
    _, method, folder = read_config(name)
    if method in DEQUANTISED and capability < FP8_CAPABILITY:
        method = None
    if method is None:
        return width * shape.num_all
    if method == "fp8":  # embeddings, head and vision stay in bfloat16
        others = (
            shape.embedding * (1 if shape.is_tied else 2) + shape.num_weights["tower"] + shape.num_weights["merger"]
        )
        whole = shape.num_all + others
    else:
        whole = int(_BYTES_PER_WEIGHT.get(method, 1.0) * shape.num_all)
    return (folder and measure_files(folder)) or whole
