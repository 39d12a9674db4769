"""The patch embedding is a matrix product: the numbers, the names and the files are those of the convolution."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_families import KINDS, save_tiny
from torch import nn
from transformers import AutoModelForImageTextToText

from video_opd.policy.families import FAMILIES
from video_opd.policy.load import load_policy
from video_opd.policy.patch_embedding import PatchProjection, use_matrix_product
from video_opd.train.optimizer import list_decaying

NAME = "model.visual.patch_embed.proj"
GRID = torch.tensor([[2, 4, 4], [1, 4, 8]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory, processor) -> dict[str, str]:
    return {kind: save_tiny(kind, tmp_path_factory.mktemp("patches") / kind, processor) for kind in KINDS}


def pixels_for(model) -> torch.Tensor:
    """Patches of two clips, as a processor delivers them."""
    size = model.get_submodule(NAME).weight[0].numel()
    return torch.randn(int(GRID.prod(dim=1).sum()), size, generator=torch.Generator().manual_seed(1))


def largest(values: torch.Tensor) -> float:
    return float(values.detach().abs().max())


def see(model) -> torch.Tensor:
    """What the vision model makes of the clips, with one number for every output."""
    output = model.model.visual(pixels_for(model), grid_thw=GRID)
    return output.pooler_output.float()


@pytest.mark.parametrize("kind", KINDS)
def test_output_and_gradient_are_those_of_the_convolution(folders, kind):
    model = load_policy(folders[kind]).model
    plain = AutoModelForImageTextToText.from_pretrained(folders[kind]).eval()
    assert type(model.get_submodule(NAME)) is PatchProjection
    assert type(plain.get_submodule(NAME)) is nn.Conv3d
    outputs = [see(each) for each in (model, plain)]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6 * largest(outputs[1]))
    for output, each in zip(outputs, (model, plain), strict=True):
        output.square().sum().backward()
        assert each.get_submodule(NAME).weight.grad.abs().max() > 0
    for (name, mine), (_, theirs) in zip(model.named_parameters(), plain.named_parameters(), strict=True):
        if theirs.grad is not None:
            scale = largest(theirs.grad)
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_projection_alone_is_exact_to_rounding(folders, kind):
    """Both are held against float64, in which the two agree to all digits that float32 has."""
    mine = load_policy(folders[kind]).model.get_submodule(NAME)
    plain = AutoModelForImageTextToText.from_pretrained(folders[kind]).get_submodule(NAME)
    patches = torch.randn(50, *plain.weight.shape[1:], generator=torch.Generator().manual_seed(2))
    exact = copy.deepcopy(plain).double()(patches.double())
    assert mine(patches).shape == plain(patches).shape
    scale = largest(exact)
    assert largest(mine(patches) - exact) < 1e-6 * scale
    for one in (mine, plain):
        one(patches).square().sum().backward()
    assert mine.weight.grad.shape == plain.weight.shape
    difference = float((mine.weight.grad - plain.weight.grad).norm() / plain.weight.grad.norm())
    assert difference < 1e-6
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = [one(patches) for one in (mine, plain)]
    assert {output.dtype for output in rounded} == {torch.bfloat16}
    for output in rounded:
        assert largest(output.double() - exact) < 2**-6 * scale


def test_names_files_and_weight_decay_are_as_before(folders, tmp_path):
    """What is saved is loaded by transformers alone, bit by bit."""
    policy = load_policy(folders["qwen3_vl"])
    plain = AutoModelForImageTextToText.from_pretrained(folders["qwen3_vl"])
    assert list_decaying(policy.model) == list_decaying(plain)
    policy.model.save_pretrained(tmp_path)
    again, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert type(again.get_submodule(NAME)) is nn.Conv3d
    before = plain.state_dict()
    assert list(before) == list(policy.model.state_dict()) == list(again.state_dict())
    assert all(torch.equal(before[name], weight) for name, weight in again.state_dict().items())


class Tower(nn.Module):
    """A model whose patches are embedded by the given convolution."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.visual = nn.ModuleDict({"patch_embed": nn.ModuleDict({"proj": convolution})})


class Padded(nn.Conv3d):
    """A convolution that somebody has changed."""


@pytest.mark.parametrize(
    ("convolution", "is_taken"),
    [
        (nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 4, 4)), True),
        (nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 4, 4), bias=False, padding="valid"), True),
        (nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 2, 4)), False),
        (nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 4, 4), padding=1), False),
        (nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 4, 4), dilation=(1, 2, 1)), False),
        (nn.Conv3d(3, 9, (2, 4, 4), stride=(2, 4, 4), groups=3), False),
        (Padded(3, 8, (2, 4, 4), stride=(2, 4, 4)), False),
        (nn.Conv2d(3, 8, 4, stride=4), False),
        (nn.Linear(96, 8), False),
    ],
)
def test_only_a_convolution_over_whole_patches_is_replaced(convolution, is_taken):
    model, before = Tower(convolution), type(convolution)
    use_matrix_product(model, FAMILIES[0])
    assert type(convolution) is (PatchProjection if is_taken else before)


def test_more_than_one_patch_at_once_is_convolved():
    convolution = nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 4, 4))
    large = torch.randn(2, 3, 4, 8, 4, generator=torch.Generator().manual_seed(3))
    expected = convolution(large)
    use_matrix_product(Tower(convolution), FAMILIES[0])
    assert type(convolution) is PatchProjection
    assert torch.equal(convolution(large), expected)


def test_a_tower_that_is_spread_over_devices_uses_the_matrix_product(monkeypatch):
    hooks = pytest.importorskip("accelerate.hooks")
    convolution = nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 4, 4))
    hooks.add_hook_to_module(convolution, hooks.AlignDevicesHook(execution_device="cpu"))
    use_matrix_product(Tower(convolution), FAMILIES[0])
    monkeypatch.setattr(nn.Conv3d, "forward", None)  # whoever calls it fails
    assert convolution(torch.ones(5, 3, 2, 4, 4)).shape == (5, 8, 1, 1, 1)
