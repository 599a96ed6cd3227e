"""What each step's batch of real images is drawn from, and what as many fakes are drawn from."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stages.generators.interface import Batch, Draws, Feed
from stages.generators.params import BatchParams
from stages.imaging.pixels import to_network_range
from stages.labelling.data import TrustedImages


@dataclass(frozen=True)
class RandomFeed(Feed):
    """Draws with replacement.

    labelled: how many of the real images, the first ones, have a given label. with_sources: whether each fake starts
    from another real image of its class.
    """

    real: TrustedImages
    labelled: int
    batch_size: int
    params: BatchParams
    latent_dim: int
    with_sources: bool
    random: torch.Generator

    @property
    def labels(self) -> Tensor:  # type: ignore[override]
        return self.real.labels

    @property
    def trust(self) -> Tensor:  # type: ignore[override]
        return self.real.trust

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


@dataclass(frozen=True)
class DomainFeed(Feed):
    """Draws images of the target domain and, apart from them, labelled ones of the source domain; with replacement."""

    target: TrustedImages
    source: TrustedImages
    batch_size: int
    latent_dim: int
    random: torch.Generator

    @property
    def labels(self) -> Tensor:  # type: ignore[override]
        return self.target.labels

    @property
    def trust(self) -> Tensor:  # type: ignore[override]
        return self.target.trust

    def draw(self, among: Tensor | None = None) -> Batch:
        rows = self._some(len(self.target.labels) if among is None else len(among))
        rows = rows if among is None else among[rows]
        starts = self._some(len(self.source.labels))
        latents = torch.randn(self.batch_size, self.latent_dim, generator=self.random, device=rows.device)
        sources = to_network_range(self.source.images[starts])
        draws = Draws(self.source.labels[starts], latents, torch.zeros_like(starts), sources)
        return Batch(to_network_range(self.target.images[rows]), self.labels[rows], self.trust[rows], draws)

    def _some(self, count: int) -> Tensor:
        """batch_size of the numbers below `count`."""
        return torch.randint(count, (self.batch_size,), generator=self.random, device=self.labels.device)
