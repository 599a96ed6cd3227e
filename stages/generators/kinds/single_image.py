"""Variants of one image, learned from that image alone.

SinGAN (Shaham et al., "SinGAN: Learning a Generative Model from a Single Natural Image", ICCV 2019): a pyramid of small
convolutional generators, from coarse to fine, against a discriminator that judges patches, so that an image's parts may
be rearranged and its texture is kept. Trained as ConSinGAN does (Hinz et al., "Improved Techniques for Training
Single-Image GANs", WACV 2021): a scale passes features on to the next, all scales learn together, an older one at a
tenth of the rate of the one after it, and noise that is fixed gives back the image itself. Each labelled image that may
be a source has a pyramid of its own.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from stages.generators.adversarial import ConditionalDiscriminator, adversarial_step
from stages.generators.interface import Batch, Draws, Feed, Learner, LearningGenerator, Plan
from stages.generators.layers import limited
from stages.generators.objective import build_objective
from stages.generators.params import SingleImageParams
from stages.generators.scales import sides
from stages.imaging.pixels import to_network_range
from stages.labelling.data import ReplicateData, TrustedImages

CONVOLUTIONS = 3  # of each scale
OLDER = 0.1  # rate of a scale as a share of that of the next one (Hinz et al. 2021, section 3.1)
FINE_NOISE = 0.1  # beside 1 of the coarsest scale: that decides the layout, the others what is rough


class Pyramid(nn.Module):
    """One image's generators, a scale each; one that has not learned yet enlarges what comes from the one before."""

    fixed: Tensor

    def __init__(self, channels: int, sides: list[int], width: int, maps: int) -> None:
        super().__init__()
        self.sides, self.maps = sides, maps
        self.head = nn.Conv2d(maps, width, 3, padding=1)
        self.noise = nn.ModuleList(nn.Conv2d(maps, width, 1) for _ in sides[1:])
        self.bodies = nn.ModuleList(_body(width) for _ in sides)
        self.tail = nn.Conv2d(width, channels, 3, padding=1)
        for body in self.bodies[1:]:
            nn.init.zeros_(body[-1].weight)  # type: ignore[index]
            nn.init.zeros_(body[-1].bias)  # type: ignore[index]
        self.register_buffer("fixed", torch.randn(1, maps * sides[0] ** 2))

    def forward(self, latents: Tensor, scale: int) -> Tensor:
        """Images (N, C, S, S) about [-1, 1] of this scale from latents (N, maps * sum of the squared sides)."""
        coarsest, *finer = latents.split([self.maps * side**2 for side in self.sides], dim=1)
        hidden = _leaky(self.head(coarsest.unflatten(1, (self.maps, *[self.sides[0]] * 2))))
        hidden = hidden + self.bodies[0](hidden)
        for body, noise, latent, side in zip(
            self.bodies[1 : scale + 1], self.noise, finer, self.sides[1:], strict=False
        ):
            hidden = functional.interpolate(hidden, (side, side), mode="bilinear", align_corners=False)
            added = noise(latent.unflatten(1, (self.maps, side, side)))
            hidden = hidden + body(hidden + FINE_NOISE * added)
        return limited(self.tail(hidden))

    def reconstruction(self, scale: int) -> Tensor:
        """What the fixed noise gives (1, C, S, S): no noise at all but that of the coarsest scale."""
        finer = sum(self.maps * side**2 for side in self.sides[1:])
        return self(functional.pad(self.fixed, (0, finer)), scale)

    def variants(self, latents: Tensor, rearrangement: float) -> Tensor:
        """Images (N, C, H, W) whose layout is so far, 0..1, from that of the image itself."""
        first = self.fixed.shape[1]
        # Both terms are standard normal, and so is their sum: the noise is such as the networks have learned from.
        coarsest = (1 - rearrangement**2) ** 0.5 * self.fixed + rearrangement * latents[:, :first]
        return self(torch.cat([coarsest, latents[:, first:]], dim=1), len(self.sides) - 1)

    def older(self, scale: int) -> Iterator[tuple[float, nn.Parameter]]:
        """The parameters that learn more slowly than this scale's own, and at which share of its rate."""
        for step, body in enumerate(self.bodies[:scale]):
            first = self.head if step == 0 else self.noise[step - 1]
            for parameter in (*first.parameters(), *body.parameters()):
                yield OLDER ** (scale - step), parameter


class PatchDiscriminator(ConditionalDiscriminator):
    """Judges every patch of 9 x 9 pixels by itself, of images of any size."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = [channels, width, width, width]
        layers = [spectral_norm(nn.Conv2d(*pair, 3, padding=1)) for pair in pairwise(sizes)]
        self.trunk = nn.Sequential(*(part for layer in layers for part in (layer, nn.LeakyReLU(0.2))))
        self.psi = spectral_norm(nn.Conv2d(width, 1, 3, padding=1))

    def logits(self, features: Tensor, _labels: Tensor, _trust: Tensor) -> Tensor:
        """Logits (N, patches) from maps (N, F, H, W)."""
        return self.psi(features).flatten(1)

    def together(self, values: Tensor) -> Tensor:
        return values.mean(dim=1)


class Pyramids(nn.Module):
    """A pyramid for each source; an image is drawn by that of its class whose source is the one it starts from.

    originals: float32 (K, C, H, W) in [-1, 1], the sources. labels: of these.
    """

    originals: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        channels, sides, self.labels = plan["channels"], plan["sides"], plan["labels"]
        self.each = nn.ModuleList(Pyramid(channels, sides, plan["width"], plan["maps"]) for _ in self.labels)
        self.rearrangement = plan["rearrangement"]
        self.register_buffer("originals", torch.zeros(len(self.labels), channels, sides[-1], sides[-1]))

    def forward(self, draws: Draws) -> Tensor:
        owners = self.owners(draws)
        images = torch.empty(len(owners), *self.originals.shape[1:], device=draws.latents.device)
        for owner in owners.unique().tolist():
            rows = (owners == owner).nonzero().squeeze(1)
            pyramid = self.each[owner]
            assert isinstance(pyramid, Pyramid)
            drawn = pyramid.variants(draws.latents[rows], self.rearrangement)
            images = images.index_copy(0, rows, drawn.to(images.dtype))
        return images

    def owners(self, draws: Draws) -> Tensor:
        """The pyramid (N,) of each draw."""
        assert draws.sources is not None  # kinds that start from sources get them
        apart = torch.cdist(draws.sources.flatten(1).float(), self.originals.flatten(1))
        labels = torch.tensor(self.labels, device=apart.device)
        return apart.masked_fill(draws.labels[:, None] != labels, torch.inf).argmin(dim=1)


class Kind(LearningGenerator):
    """Pyramids that learn in turn."""

    starts_from = "class"
    needs_guesses = False
    network: Pyramids
    done: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.latent_dim = plan["maps"] * sum(side**2 for side in plan["sides"])
        self.objective = build_objective({"kind": "hinge", "margin": 1.0})
        self.network = Pyramids(plan)
        self.discriminators = nn.ModuleList(PatchDiscriminator(plan["channels"], plan["width"]) for _ in plan["labels"])
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))  # steps, which decide whose turn it is

    @classmethod
    def study(
        cls, data: ReplicateData, _real: TrustedImages, params: SingleImageParams, _seed: int
    ) -> tuple[Plan, Tensor]:
        """Raises UserError where the coarsest scale would be too small."""
        _, channels, size, _ = data.images.shape
        classes = [(data.labels == label).nonzero().squeeze(1) for label in range(data.classes)]
        rows = torch.cat([own[: params.images_per_class] for own in classes])
        plan: dict[str, Any] = {
            "channels": channels,
            "sides": sides(size, params.scales),
            "width": params.width,
            "maps": params.latent_dim,
            "reconstruction": params.reconstruction,
            "rearrangement": params.rearrangement,
            "steps": max(1, params.steps // len(rows)),
            "sources": rows.tolist(),
            "labels": data.labels[rows].tolist(),
        }
        return plan, data.images[rows]

    def initialise(self, start: Tensor) -> None:
        self.network.originals.copy_(to_network_range(start))

    def players(self) -> dict[str, nn.Module]:
        return {"generator": self.network, "discriminator": self.discriminators}

    def compiled(self) -> Iterator[nn.Module]:
        yield from ()

    @torch.no_grad()
    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        """The mean logit of an image's patches."""
        owners, trust = self.network.owners(draws), torch.ones(len(images), device=images.device)
        logits = torch.empty(len(images), device=images.device)
        for owner in owners.unique().tolist():
            rows = (owners == owner).nonzero().squeeze(1)
            discriminator = self.discriminators[owner]
            assert isinstance(discriminator, PatchDiscriminator)
            judged = discriminator.logits(discriminator.features(images[rows], None), draws.labels[rows], trust[rows])
            logits[rows] = discriminator.together(judged)
        return logits

    def learn(self, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        """The pyramid whose turn it is learns at the scale that it has come to."""
        count, scales = len(self.network.each), len(self.plan["sides"])
        own, turn = divmod(int(self.done), count)
        scale = min(own * scales // self.plan["steps"], scales - 1)
        pyramid, draws = self.network.get_submodule(f"each.{turn}"), feed.draw().draws
        assert isinstance(pyramid, Pyramid)
        side = self.plan["sides"][scale]
        original = self.network.originals[turn : turn + 1]
        image = functional.interpolate(original, (side, side), mode="bilinear", antialias=True, align_corners=False)

        def reconstructs(fakes: Tensor) -> Tensor:
            with learner.autocast():
                apart = (pyramid.reconstruction(scale) - image).square().mean()
            return self.plan["reconstruction"] * apart.expand(len(fakes))

        size, before = len(draws.labels), [(share, one, one.detach().clone()) for share, one in pyramid.older(scale)]
        batch = Batch(
            image.expand(size, -1, -1, -1), draws.labels, draws.latents.new_ones(size), replace(draws, sources=None)
        )
        at_scale = partial(_drawn, pyramid, scale)
        measures = adversarial_step(at_scale, self.discriminators[turn], self.objective, batch, learner, reconstructs)
        with torch.no_grad():  # Adam's step is proportional to its rate
            for share, parameter, was in before:
                parameter.copy_(torch.lerp(was, parameter, share))
        self.done += 1
        return measures


def _drawn(pyramid: Pyramid, scale: int, draws: Draws) -> Tensor:
    images: Tensor = pyramid(draws.latents, scale)
    return images


def _body(width: int) -> nn.Sequential:
    """Convolutions that keep the size of maps (N, width, H, W)."""
    layers = [nn.Conv2d(width, width, 3, padding=1) for _ in range(CONVOLUTIONS)]
    return nn.Sequential(*(part for layer in layers[:-1] for part in (layer, nn.LeakyReLU(0.2))), layers[-1])


def _leaky(hidden: Tensor) -> Tensor:
    return functional.leaky_relu(hidden, 0.2)
