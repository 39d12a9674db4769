"""How a model is split into the files of several processes."""

from itertools import pairwise

import torch

from video_opd.policy.saving import split_into_files


def test_files_are_of_like_size_and_a_layer_stays_together():
    layers = {f"model.layers.{number}.{part}": 10 for number in range(12) for part in ("query", "mlp.up")}
    sizes = {"model.embed.weight": 100} | layers | {"model.norm.weight": 1, "lm_head.weight": 30}
    weights = {name: torch.empty(size, dtype=torch.bfloat16) for name, size in sizes.items()}
    files = list(split_into_files(weights, most_bytes=150))
    assert [name for file in files for name in file] == list(weights)
    assert files[0] == ["model.embed.weight"], "larger than a file, so it has one of its own"
    assert [sum(sizes[name] * 2 for name in file) for file in files] == [200, 120, 120, 120, 122, 60]
    layers_of = [{name.split(".")[2] for name in file if ".layers." in name} for file in files]
    assert all(not one & other for one, other in pairwise(layers_of))


def test_a_small_model_is_one_file():
    weights = {name: torch.empty(4) for name in ("a", "b.0.c", "b.1.c")}
    assert list(split_into_files(weights, most_bytes=48)) == [["a", "b.0.c", "b.1.c"]]
