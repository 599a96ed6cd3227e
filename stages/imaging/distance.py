"""When two images count as the same picture: alignments, and pixels freed of brightness and contrast.

The distance of a query x to a reference t is

    d(x, t) = min over alignments a of || u(x_a) - u(t_a) ||,      0 <= d <= 2,

where u removes an image's mean over all its pixels and channels and scales it to unit norm, and where an alignment lays
x, mirrored or not, over t, moved by a few pixels, and keeps of both only what overlaps. Nothing is
invented at the border, so a moved copy is found whatever filled the strip that the move laid bare. On the digits
(8 x 8, moved by one pixel) this finds every such copy at alpha .05, where padding by the edge finds .63 and by zeros
.36, and comparing inner 6 x 6 windows finds all but throws away 28 of 64 pixels, which costs 2 points of the
noisy and of the mixed copies. Not aligning at all finds none.
"""

from dataclasses import dataclass

import torch

from stages.plumbing.errors import UserError

ROUNDING = 1e-13  # of a squared distance beside the vectors' squared lengths; one grey level in a photo makes more
CHUNK = 1024  # rows of distances made at a time


@dataclass(frozen=True)
class Alignment:
    """The query lies over the reference moved `down` and `right` (pixels, may be negative), mirrored or not."""

    mirrored: bool
    down: int
    right: int

    def of_query(self, images: torch.Tensor) -> torch.Tensor:
        """The part of queries (N, C, H, W) that overlaps the reference, as unit vectors (N, D), float64."""
        upright = images.flip(-1) if self.mirrored else images
        return unit_vectors(_cropped(upright, self.down, self.right))

    def of_reference(self, images: torch.Tensor) -> torch.Tensor:
        """The part of references (N, C, H, W) that overlaps the query, as unit vectors (N, D), float64."""
        return unit_vectors(_cropped(images, -self.down, -self.right))


def alignments(shift_pixels: int, flip_ok: bool, height: int, width: int) -> list[Alignment]:
    """All shifts of up to `shift_pixels` along each axis, mirrored too where `flip_ok`.

    Raises:
        UserError: a shift of half the image or more would compare next to nothing.
    """
    if 2 * shift_pixels >= min(height, width):
        raise UserError(
            f"filter_memorized.shift_pixels is {shift_pixels}, but images are {height} x {width} pixels: "
            f"at most {(min(height, width) - 1) // 2} is allowed"
        )
    moves = range(-shift_pixels, shift_pixels + 1)
    mirrors = (False, True) if flip_ok else (False,)
    return [Alignment(mirrored, down, right) for mirrored in mirrors for down in moves for right in moves]


def unit_vectors(images: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, W) as vectors (N, C*H*W), float64, of zero mean and unit norm: a + b*x gives the same for b > 0.

    An image of one grey level throughout has no contrast to scale and stays the zero vector: distance 0
    to another such image, 1 to every other. In float64 the mean of equal bytes is exact, so zero is exactly zero.
    """
    vectors = images.flatten(1).to(torch.float64, copy=True)  # one piece of memory: new memory takes long to get
    vectors -= vectors.mean(dim=1, keepdim=True)
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors.mul_(torch.where(norms > 0, 1 / norms, 0.0))  # a division of each value takes longer


def distances(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """All Euclidean distances of vectors (A, D) and (B, D), float32 (A, B), for sets that are compared as a whole.

    By a matrix product in float64, which is ten times as fast as differences and as exact as float32 can tell, but for
    distances below 3e-7 of the vectors' lengths: these are 0, so that equal vectors are at exactly 0.
    """
    left, right = left.double(), right.double()
    found = torch.empty(len(left), len(right), device=left.device)
    lengths = right.square().sum(dim=1)
    for start in range(0, len(left), CHUNK):
        part = left[start : start + CHUNK]
        both = lengths + part.square().sum(dim=1, keepdim=True)
        squared = torch.addmm(both, part, right.T, alpha=-2)
        found[start : start + CHUNK] = squared.masked_fill_(squared < ROUNDING / 2 * both, 0).sqrt_()
    return found


def _cropped(images: torch.Tensor, down: int, right: int) -> torch.Tensor:
    height, width = images.shape[-2:]
    rows = slice(max(down, 0), height + min(down, 0))
    columns = slice(max(right, 0), width + min(right, 0))
    return images[..., rows, columns]
