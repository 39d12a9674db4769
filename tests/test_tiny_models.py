"""The models that ship: small, loadable by the real path, made by the script that stands beside them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from video_opd.config.recipe_file import load_grounding_defaults, load_recipe
from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.tiny_world import BuildSettings, LabelNoise, TinyWorld, annotate, build, draw_clip
from video_opd.data.video.video_io import Frames
from video_opd.eval.evaluate import evaluate
from video_opd.policy.load import load_policy
from video_opd.policy.location import resolve_model
from video_opd.seeds import generator
from video_opd.types import Span

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def school():
    """scripts/tiny_models, importable for the length of this module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    yield __import__("tiny_models.teaching").teaching
    sys.path.remove(str(ROOT / "scripts"))


@pytest.mark.parametrize("name", ["tiny-student", "tiny-teacher"])
def test_a_few_megabytes_of_bfloat16_safetensors(name):
    folder = Path(resolve_model(name))
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4e6
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        assert {tensors.get_tensor(key).dtype for key in tensors.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_both_are_asked_as_the_recipe_asks(school):
    recipe = load_recipe(ROOT / "recipes" / "tiny-opd.toml")
    for name in ("tiny-student", "tiny-teacher"):
        assert load_grounding_defaults(Path(resolve_model(name))) == recipe.grounding_defaults()


def test_the_tokenizer_is_the_scripts_own(school):
    """So the models that ship and the script that makes them have not drifted apart."""
    processor = __import__("tiny_models.architecture").architecture.build_processor()
    for name in ("tiny-student", "tiny-teacher"):
        policy = load_policy(name)
        assert policy.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
        size = school.SIZES[name.removeprefix("tiny-")]
        assert policy.model.config.text_config.hidden_size == size.hidden
        assert policy.model.config.text_config.num_hidden_layers == size.layers


@pytest.mark.slow
def test_what_ships_is_what_the_readme_says(tmp_path):
    """On 60 held-out queries of a world nobody trained on: a poor student, a good teacher, both in the right form."""
    manifests = build(tmp_path, BuildSettings(seed=1234, num_queries={"train": 2, "validation": 2, "test": 60}))
    examples = read_manifest(manifests["test"])
    scores = {}
    for name in ("tiny-student", "tiny-teacher"):
        policy = load_policy(name).freeze()
        defaults = load_grounding_defaults(Path(resolve_model(name)))
        from video_opd.eval.how_asked import resolve_budget, resolve_template

        render = PromptRenderer(policy.processor, resolve_template(defaults.prompt), resolve_budget(defaults.video))
        source = PromptSource(tmp_path / "videos", render, num_examples=60)
        scores[name] = evaluate(policy, examples, source, max_new_tokens=32, batch_size=30).scores
    assert 0.25 < scores["tiny-student"].miou < 0.55
    assert scores["tiny-teacher"].miou > 0.75
    assert min(score.output_format_rate for score in scores.values()) > 0.95


def test_lessons_show_what_an_mp4_shows(school, world):
    """The script renders in memory; the pixels a model gets from the file differ only by the codec."""
    processor = __import__("tiny_models.architecture").architecture.build_processor()
    maker = school.School(processor, seed=0)
    example = read_manifest(world / "test.jsonl")[0]
    number = int(example.id.split("-")[2])
    clip = draw_clip(TinyWorld(), generator(3, "tiny-world", "test", number), "x")
    times = np.arange(round(clip.duration_s * 2)) / 2
    render = PromptRenderer(processor, TEMPLATES["tiny"], school_budget())
    from_memory = render(example, maker._frames(clip, times))
    from_file = PromptSource(world / "videos", render, num_examples=1).render(example)
    assert torch.equal(from_memory.input_ids, from_file.input_ids)
    assert (from_memory.pixel_values - from_file.pixel_values).abs().mean() < 0.03


def school_budget():
    return __import__("tiny_models.architecture").architecture.BUDGET


@pytest.mark.long
def test_a_few_lessons_lower_the_loss(school):
    """The trainer trains: forty steps of the whole model on eight lessons, from nothing."""
    processor = __import__("tiny_models.architecture").architecture.build_processor()
    maker = school.School(processor, seed=0)
    model = school.build_model(school.SIZES["student"], processor, seed=0)
    lessons, pad = [maker.lesson(number) for number in range(8)], processor.tokenizer.pad_token_id

    def losses():
        while True:
            yield school.lesson_loss(model, None, lessons, pad)

    values = [v for _, v in school.minimise(list(model.parameters()), losses(), 40, lambda step: 3e-3)]
    assert values[-1] < 0.3 * values[0]


def test_carelessness_keeps_the_form(school):
    """Spoiling errors stay on the grid, inside the clip, and are often large."""
    careless = __import__("tiny_models.school").school.Carelessness(other_share=0.5, error_s=1.0)
    wrong = 0
    for number in range(200):
        rng = generator(0, "careless", number)
        clip = draw_clip(TinyWorld(), rng, "x")
        span = careless.apply(clip, clip.events[0], rng)
        assert 0 <= span.start_s < span.end_s <= clip.duration_s
        assert (span.start_s * 2).is_integer()
        assert (span.end_s * 2).is_integer()
        wrong += span != clip.events[0].span
    assert wrong > 150
    assert annotate(clip.events[0], clip, LabelNoise(wrong_share=0, imprecise_share=0), rng) == clip.events[0].span


def frames_of(duration_s):
    """Two frames a second, each of one pixel with its own number."""
    count = round(2 * duration_s)
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1).repeat(3, axis=3)
    times = tuple(index / 2 for index in range(count))
    return Frames(images=images, times_s=times, duration_s=duration_s, indices=tuple(range(count)))


@pytest.mark.parametrize(
    ("spans", "margin_s", "kept"),
    [
        ([(2.0, 4.0)], 0.0, [2, 3]),  # groups are seconds: a span that ends where a group begins does not overlap it
        ([(2.5, 4.5)], 0.0, [2, 3, 4]),
        ([(2.5, 4.5)], 1.0, [1, 2, 3, 4, 5]),
        ([(0.0, 1.0)], 1.5, [0, 1, 2]),
        ([(7.0, 8.0)], 1.0, [6, 7]),
        ([(0.0, 1.0), (6.0, 7.0)], 0.0, [0, 6]),
        ([(20.0, 21.0)], 1.0, [7]),  # an annotation that lies behind the clip
    ],
)
def test_a_crop_keeps_the_groups_that_a_span_overlaps(school, spans, margin_s, kept):
    crops = __import__("tiny_models.crops").crops
    cropped = crops.keep_groups(frames_of(8.0), [Span(*span) for span in spans], margin_s)
    wanted = [index for group in kept for index in (2 * group, 2 * group + 1)]
    assert cropped.images[:, 0, 0, 0].tolist() == wanted
    assert cropped.times_s == tuple(index / 2 for index in wanted)
    assert cropped.indices == tuple(wanted)
    assert cropped.duration_s == 8.0


def test_a_crop_has_the_timestamps_of_the_whole_clip(school):
    """Lesson 3 of both schools is of one clip and one question; the crop's video part is a piece of the clip's."""
    processor = __import__("tiny_models.architecture").architecture.build_processor()
    maker = __import__("tiny_models.school").school.School
    whole = maker(processor, 0, {"tiny": 1.0}).lesson(3)
    crop = maker(processor, 0, {"tiny": 1.0}, (0.5, 0.5)).lesson(3)
    assert (crop.text, crop.prompt.example.query) == (whole.text, whole.prompt.example.query)
    texts = [processor.tokenizer.decode(lesson.prompt.input_ids) for lesson in (whole, crop)]
    stamps = [re.findall(r"<([\d.]+) seconds>", text) for text in texts]
    first = round(crop.prompt.frame_times_s[0])
    assert len(stamps[1]) < len(stamps[0])
    assert stamps[1] == stamps[0][first : first + len(stamps[1])]
    (span,) = crop.prompt.example.spans
    assert crop.prompt.frame_times_s[0] <= max(span.start_s - 0.5, 0) < crop.prompt.frame_times_s[0] + 1
    patches = len(whole.prompt.pixel_values) // len(stamps[0])
    assert torch.equal(
        crop.prompt.pixel_values, whole.prompt.pixel_values[patches * first : patches * (first + len(stamps[1]))]
    )
    assert torch.equal(crop.visible, whole.visible[first : first + len(stamps[1])])
    assert crop.visible.sum() == 2 * (span.end_s - span.start_s)


def test_anchors_hold_what_the_model_says(school):
    """The log-probs are those of the model's own answers; nothing drifts before a step is taken."""
    processor = __import__("tiny_models.architecture").architecture.build_processor()
    views = __import__("tiny_models.views").views
    model = load_policy("tiny-student").model
    anchors = views.note_anchors(model, processor, 0, 20)
    assert len(anchors) == 20
    for anchor in anchors[::7]:
        with torch.no_grad():
            logits, ids, _ = school.answer_logits(model, [anchor.lesson], processor.tokenizer.pad_token_id)
        assert anchor.lesson.num_answer_tokens == len(ids)
        assert processor.tokenizer.decode(ids, skip_special_tokens=True) == anchor.lesson.text
        torch.testing.assert_close(logits.log_softmax(-1), anchor.logprobs, atol=1e-4, rtol=0)


def test_a_cut_model_keeps_its_layers_and_computes(school, tmp_path):
    """Layer 3 of the teacher is layer 1 of the small one, which can be saved, loaded and asked."""
    smaller = __import__("tiny_models.smaller").smaller
    processor = __import__("tiny_models.architecture").architecture.build_processor()
    teacher = load_policy("tiny-teacher").model
    small = smaller.cut(teacher, (0, 3))
    assert (small.config.text_config.num_hidden_layers, teacher.config.text_config.num_hidden_layers) == (2, 4)
    assert [layer.self_attn.layer_idx for layer in small.model.language_model.layers] == [0, 1]  # its place in a cache
    weights = [model.model.language_model.layers[at].mlp.up_proj.weight for model, at in ((small, 1), (teacher, 3))]
    assert torch.equal(*weights)
    lessons, pad = [school.School(processor, 0).lesson(0)], processor.tokenizer.pad_token_id
    small.save_pretrained(tmp_path)
    loaded = type(small).from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        logits, again = (school.answer_logits(model, lessons, pad)[0] for model in (small, loaded))
    torch.testing.assert_close(again, logits)
