"""What each step's batch of real images is drawn from, and what as many fakes are drawn from."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stages.generators.interface import Batch, Draws, Feed
from stages.generators.params import BatchParams
from stages.imaging.pixels import to_network_range
from stages.labelling.data import TrustedImages


@dataclass(frozen=True, kw_only=True)
class ImageFeed(Feed):
    """Draws from the images `real`, which networks shall resemble, and latents of `latent_dim` numbers."""

    real: TrustedImages
    latent_dim: int
    random: torch.Generator

    @property
    def labels(self) -> Tensor:  # type: ignore[override]
        return self.real.labels

    @property
    def trust(self) -> Tensor:  # type: ignore[override]
        return self.real.trust


@dataclass(frozen=True, kw_only=True)
class RandomFeed(ImageFeed):
    """Draws with replacement.

    labelled: how many of the real images, the first ones, have a given label. with_sources: whether each fake starts
    from another real image of its class.
    """

    labelled: int
    batch_size: int
    params: BatchParams
    with_sources: bool

    def draw(self, among: Tensor | None = None) -> Batch:
        rows = self._rows(among)
        latents = torch.randn(len(rows), self.latent_dim, generator=self.random, device=rows.device)
        sources = to_network_range(self.real.images[self._others(rows)]) if self.with_sources else None
        draws = Draws(self.real.labels[rows], latents, torch.zeros_like(rows), sources)
        return Batch(to_network_range(self.real.images[rows]), draws.labels, self.real.trust[rows], draws)

    def _rows(self, among: Tensor | None) -> Tensor:
        """batch_size rows; the stated share of them labelled, where there are both kinds to draw from."""
        everything, share = self._everything if among is None else among, self.params.labelled_share
        if share is None:
            return self._some(everything, self.batch_size)
        given, pool = everything[everything < self.labelled], everything[everything >= self.labelled]
        if not len(given) or not len(pool):
            return self._some(everything, self.batch_size)
        count = min(max(round(share * self.batch_size), 1), self.batch_size)
        return torch.cat([self._some(given, count), self._some(pool, self.batch_size - count)])

    @cached_property
    def _everything(self) -> Tensor:
        return torch.arange(len(self.real.labels), device=self.real.labels.device)

    def _some(self, rows: Tensor, count: int) -> Tensor:
        """So many of these rows, all alike or all of their classes alike."""
        if self.params.balanced and count:  # multinomial refuses to draw nothing
            own = self.real.labels[rows]
            chances = 1 / own.bincount()[own]
            return rows[torch.multinomial(chances, count, replacement=True, generator=self.random)]
        return rows[torch.randint(len(rows), (count,), generator=self.random, device=rows.device)]

    def _others(self, rows: Tensor) -> Tensor:
        """For each row another one of its class, at random; itself where it is alone."""
        order, place, starts, counts = self._by_class
        own = self.real.labels[rows]
        draw = torch.rand(len(rows), generator=self.random, device=rows.device)
        step = 1 + (draw * (counts[own] - 1)).long().clamp_max(counts[own] - 2).clamp_min(0)
        return order[starts[own] + (place[rows] - starts[own] + step) % counts[own]]

    @cached_property
    def _by_class(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All rows class by class, the place of each among them, and where each class starts and how many it has."""
        order = self.real.labels.argsort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        counts = self.real.labels.bincount()
        return order, place, counts.cumsum(0) - counts, counts


@dataclass(frozen=True, kw_only=True)
class RegionFeed(RandomFeed):
    """Real images with a region each, and labelled images of any class with a region to draw anew.

    masks: bool (labelled, 1, H, W), some of them not empty. An image without a region of its own is given that of a
    labelled one, of its class where there is one: a fake without one has that of the real image beside it, so that its
    class is the wanted one.
    """

    masks: Tensor

    def draw(self, among: Tensor | None = None) -> Batch:
        batch_rows = self._rows(among)
        count, labels = len(batch_rows), self.real.labels[batch_rows]
        latents = torch.randn(count, self.latent_dim, generator=self.random, device=batch_rows.device)
        starts = torch.randint(self.labelled, (count,), generator=self.random, device=batch_rows.device)
        lent = self._lenders(labels)
        of_real = self.masks[torch.where(self._has_own(batch_rows), batch_rows, lent)]
        of_fake = torch.where(self._has_own(starts).view(-1, 1, 1, 1), self.masks[starts], of_real)
        sources = to_network_range(self.real.images[starts])
        draws = Draws(labels, latents, torch.zeros_like(batch_rows), sources, of_fake.float())
        real = to_network_range(self.real.images[batch_rows])
        return Batch(real, labels, self.real.trust[batch_rows], draws, of_real.float())

    def _has_own(self, rows: Tensor) -> Tensor:
        """Which of these images have a region, bool (N,); those of the pool have none."""
        return (rows < self.labelled) & self._not_empty[rows.clamp_max(self.labelled - 1)]

    @cached_property
    def _not_empty(self) -> Tensor:
        return self.masks.flatten(1).any(dim=1)

    def _lenders(self, labels: Tensor) -> Tensor:
        """A random image with a region for each of these labels (N,), of that class where there is one."""
        rows = self._not_empty.nonzero().squeeze(1)
        own = self.real.labels[rows]
        suits = own == labels.unsqueeze(1)
        chances = torch.where(suits.any(dim=1, keepdim=True), suits, True).float()
        return rows[torch.multinomial(chances, 1, generator=self.random).squeeze(1)]


@dataclass(frozen=True, kw_only=True)
class PoissonFeed(ImageFeed):
    """Draws each real image by itself, `lot` of them on average, so that what a step tells of one can be accounted for.

    The fakes, as many as a lot, are of all classes alike: what they are of tells nothing of the real images.
    """

    lot: int
    classes: int

    def draw(self, among: Tensor | None = None) -> Batch:
        assert among is None  # what some of the images are drawn for would have to be accounted for too
        device = self.real.labels.device
        rate = self.lot / len(self.real.labels)
        rows = (torch.rand(len(self.real.labels), generator=self.random, device=device) < rate).nonzero().squeeze(1)
        return Batch(to_network_range(self.real.images[rows]), self.labels[rows], self.trust[rows], self.fakes())

    def fakes(self) -> Draws:
        """What as many fakes as a lot are drawn from."""
        device = self.real.labels.device
        wanted = torch.randint(self.classes, (self.lot,), generator=self.random, device=device)
        latents = torch.randn(self.lot, self.latent_dim, generator=self.random, device=device)
        return Draws(wanted, latents, torch.zeros_like(wanted))


@dataclass(frozen=True, kw_only=True)
class DomainFeed(ImageFeed):
    """Draws images of the target domain and, apart from them, labelled ones of the source domain; with replacement."""

    source: TrustedImages
    batch_size: int

    def draw(self, among: Tensor | None = None) -> Batch:
        rows = self._some(len(self.real.labels) if among is None else len(among))
        rows = rows if among is None else among[rows]
        starts = self._some(len(self.source.labels))
        latents = torch.randn(self.batch_size, self.latent_dim, generator=self.random, device=rows.device)
        sources = to_network_range(self.source.images[starts])
        draws = Draws(self.source.labels[starts], latents, torch.zeros_like(starts), sources)
        return Batch(to_network_range(self.real.images[rows]), self.labels[rows], self.trust[rows], draws)

    def _some(self, count: int) -> Tensor:
        """batch_size of the numbers below `count`."""
        return torch.randint(count, (self.batch_size,), generator=self.random, device=self.labels.device)
