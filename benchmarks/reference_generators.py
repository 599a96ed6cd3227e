"""What our GANs are held against: the textbook's conditional DCGAN, and two generators without any network.

Each is fitted to a set, and then is a function of (count, seed) that returns so many images of each class, class by
class: images uint8 (N, C, H, W) and labels int64 (N,).
"""

from collections.abc import Callable, Iterator, Sequence
from time import process_time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError

Sampler = Callable[[int, int], tuple[Tensor, Tensor]]
Rows = NDArray[np.float64]  # images of one class, one in each row, 0..255

NOISE = 64
WIDTH = 64  # channels of the layer next to the image; each layer away from it has twice as many
BATCH = 64
SAMPLE_BATCH = 256
KEPT_VARIANCE = 0.95
MIXTURE_SIZES = (1, 2, 3)
# Of variances that whitening has made 1: no mode of a mixture shrinks to a single image.
REGULARISATION = 1e-3
SMOTE_NEIGHBOURS = 5


def train_dcgan(data: ReplicateData, seconds: float, seed: int) -> tuple[Sampler, int]:
    """Train the DCGAN on the labelled images for so many CPU seconds, one step at least, on one thread.

    Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs", 2016, conditioned as in Mirza
    and Osindero, "Conditional Generative Adversarial Nets", 2014: the one-hot class joins the noise, and the image as
    constant channels. Adam 2e-4 with betas (0.5, 0.999), batches of 64 or of all images, binary cross-entropy.
    Returns the sampler and the number of steps there was time for.
    """
    deadline = process_time() + seconds
    images = to_network_range(data.images)
    classes = functional.one_hot(data.labels, data.classes).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = _Generator(images.shape[1], images.shape[2], data.classes)
        discriminator = _Discriminator(images.shape[1], images.shape[2], data.classes)
    optimisers = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator)
    ]
    random = torch.Generator().manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    steps = 0
    for rows in _batches(len(images), random):
        noise = torch.randn(len(rows), NOISE, generator=random)
        _step(generator, discriminator, optimisers, images[rows], classes[rows], noise)
        steps += 1
        if process_time() >= deadline:
            break
    torch.set_num_threads(threads)
    return _dcgan_sampler(generator.eval(), data.classes), steps


def fit_pca_mixture(data: ReplicateData, seed: int, pool_labels: Tensor | None = None) -> Sampler:
    """Fit to each class its principal components, and a Gaussian mixture in them.

    The components keep 95 % of the variance and are whitened. The mixture has 1 to 3 modes, by the Bayesian information
    criterion; only as many are tried as leave each mode, on average, one image more than there are components.
    pool_labels: (M,) classes that pool images are taken for, -1 for those to leave out; None leaves out the pool.
    Raises UserError for a class whose images are fewer than two, or all alike.
    """
    fitted = [_PcaMixture(rows, seed) for rows in _rows_by_class(data, pool_labels)]
    return _sampler(data, [each.draw for each in fitted])


def fit_smote(data: ReplicateData, pool_labels: Tensor | None = None) -> Sampler:
    """Mix each class's images: x + u (x' - x), x' one of the 5 nearest of x in its class, u uniform in 0..1.

    Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", 2002. pool_labels: as for `fit_pca_mixture`.
    Raises UserError for a class whose images are fewer than two, or all alike.
    """
    fitted = [_Smote(rows) for rows in _rows_by_class(data, pool_labels)]
    return _sampler(data, [each.draw for each in fitted])


class _Generator(nn.Module):
    """Noise (N, 64) and one-hot classes (N, K) to images (N, C, H, H) in [-1, 1]."""

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        strides = _strides(side)
        start = -(-side // int(np.prod(strides)))
        self.margin = (start * int(np.prod(strides)) - side) // 2
        self.side = side
        widths = (4 * WIDTH, 2 * WIDTH, WIDTH, channels)
        layers: list[nn.Module] = [nn.ConvTranspose2d(NOISE + classes, widths[0], start, bias=False)]
        for before, after, stride in zip(widths, widths[1:], reversed(strides), strict=False):
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(before, after, stride + 2, stride, padding=1, bias=after == channels))
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(_initialise)

    def forward(self, noise: Tensor, classes: Tensor) -> Tensor:
        drawn: Tensor = self.layers(torch.cat([noise, classes], dim=1)[:, :, None, None])
        kept = slice(self.margin, self.margin + self.side)
        return drawn[:, :, kept, kept]


class _Discriminator(nn.Module):
    """Images (N, C, H, H) in [-1, 1] and one-hot classes (N, K) to logits (N,), high for what seems real."""

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        strides = _strides(side)
        widths = (channels + classes, WIDTH, 2 * WIDTH, 4 * WIDTH)
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            first = after == WIDTH
            layers.append(nn.Conv2d(before, after, stride + 2, stride, padding=1, bias=first))
            layers += [nn.LeakyReLU(0.2)] if first else [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, side // int(np.prod(strides))))
        self.apply(_initialise)

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        maps = classes[:, :, None, None].expand(-1, -1, *images.shape[2:])
        logits: Tensor = self.layers(torch.cat([images, maps], dim=1))
        return logits.flatten()


def _strides(side: int) -> list[int]:
    """Of the three layers between image and smallest map, from the image on: 2 while more than 4 pixels are left."""
    halvings = min(((side - 1) // 4).bit_length(), 3)
    return [2] * halvings + [1] * (3 - halvings)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _batches(images: int, random: torch.Generator) -> Iterator[Tensor]:
    """Rows of one batch after the other, without end: shuffled in every epoch, whose incomplete batch is left out."""
    size = min(BATCH, images)
    while True:
        yield from torch.randperm(images, generator=random)[: images - images % size].split(size)


def _step(
    generator: _Generator,
    discriminator: _Discriminator,
    optimisers: Sequence[torch.optim.Optimizer],
    images: Tensor,
    classes: Tensor,
    noise: Tensor,
) -> None:
    """One step of the discriminator and one of the generator, with the non-saturating loss."""
    of_generator, of_discriminator = optimisers
    fake = generator(noise, classes)
    loss = _cross_entropy(discriminator(images, classes), 1.0)
    loss = loss + _cross_entropy(discriminator(fake.detach(), classes), 0.0)
    of_discriminator.zero_grad()
    loss.backward()
    of_discriminator.step()
    of_generator.zero_grad()
    _cross_entropy(discriminator(fake, classes), 1.0).backward()
    of_generator.step()


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


class _PcaMixture:
    """Principal components of one class, and a mixture in them."""

    def __init__(self, rows: Rows, seed: int) -> None:
        from sklearn.decomposition import PCA
        from sklearn.mixture import GaussianMixture

        self.components = PCA(KEPT_VARIANCE, whiten=True, svd_solver="full")
        whitened = self.components.fit_transform(rows)
        count, dimensions = whitened.shape
        mixtures = [
            GaussianMixture(size, reg_covar=REGULARISATION, random_state=seed).fit(whitened)
            for size in MIXTURE_SIZES
            if size == 1 or size * (dimensions + 1) <= count
        ]
        self.mixture = min(mixtures, key=lambda mixture: mixture.bic(whitened))

    def draw(self, count: int, random: np.random.Generator) -> Rows:
        modes = random.choice(len(self.mixture.weights_), count, p=self.mixture.weights_)
        factors = np.linalg.cholesky(self.mixture.covariances_)[modes]
        noise = random.standard_normal((count, factors.shape[1]))
        whitened = self.mixture.means_[modes] + np.einsum("nij,nj->ni", factors, noise)
        scores = whitened * np.sqrt(self.components.explained_variance_)
        drawn: Rows = scores @ self.components.components_ + self.components.mean_  # inverse_transform, of none too
        return drawn


class _Smote:
    """Images of one class, and the nearest others of each."""

    def __init__(self, rows: Rows) -> None:
        from sklearn.neighbors import NearestNeighbors

        self.rows = rows
        search = NearestNeighbors(n_neighbors=min(SMOTE_NEIGHBOURS, len(rows) - 1)).fit(rows)
        self.neighbours = search.kneighbors(return_distance=False)

    def draw(self, count: int, random: np.random.Generator) -> Rows:
        first = random.integers(len(self.rows), size=count)
        second = self.neighbours[first, random.integers(self.neighbours.shape[1], size=count)]
        share = random.random((count, 1))
        return self.rows[first] + share * (self.rows[second] - self.rows[first])


def _rows_by_class(data: ReplicateData, pool_labels: Tensor | None) -> list[Rows]:
    """The labelled images of each class and the pool images that are taken for it."""
    images, labels = data.images, data.labels
    if pool_labels is not None:
        images, labels = torch.cat([images, data.unlabelled]), torch.cat([labels, pool_labels])
    by_class = [images[labels == label].flatten(1).double().numpy() for label in range(data.classes)]
    for label, rows in enumerate(by_class):
        if len(np.unique(rows, axis=0)) < 2:
            raise UserError(f"class {label} needs two images that differ; give it more labels or leave it out")
    return by_class


def _sampler(data: ReplicateData, draws: Sequence[Callable[[int, np.random.Generator], Rows]]) -> Sampler:
    """Class c is drawn by draws[c], from random numbers of its own, and rounded to bytes."""
    shape = data.images.shape[1:]

    def sample(count: int, seed: int) -> tuple[Tensor, Tensor]:
        drawn = [draw(count, np.random.default_rng((seed, label))) for label, draw in enumerate(draws)]
        pixels = np.concatenate(drawn).round().clip(0, 255).astype(np.uint8)
        return torch.from_numpy(pixels).unflatten(1, shape), _labels(len(draws), count)

    return sample


def _dcgan_sampler(generator: _Generator, classes: int) -> Sampler:
    @torch.no_grad()
    def sample(count: int, seed: int) -> tuple[Tensor, Tensor]:
        labels = _labels(classes, count)
        noise = torch.randn(len(labels), NOISE, generator=torch.Generator().manual_seed(seed))
        one_hot = functional.one_hot(labels, classes).float()
        batches = zip(noise.split(SAMPLE_BATCH), one_hot.split(SAMPLE_BATCH), strict=True)
        return torch.cat([to_bytes(generator(*batch)) for batch in batches]), labels

    return sample


def _labels(classes: int, count: int) -> Tensor:
    return torch.arange(classes).repeat_interleave(count)
