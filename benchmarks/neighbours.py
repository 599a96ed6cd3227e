"""What the exact search costs beside a bare matrix product of the same shape, and beside scikit-learn; its memory.

One thread. bare: `torch.mm` of float32 matrices into memory that is there already; fresh: the same into new memory, as
`a @ b.T` does it; search: the whole of `nearest` for 5 neighbours on random images, from bytes to distances;
scikit-learn: `NearestNeighbors(algorithm="brute")` of the vectors in float64, on a part of the queries, scaled. Seconds
are the process's own, and medians of interleaved rounds; a ratio is that of a round, as the machine's speed drifts:
`python -m benchmarks.neighbours`.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from stages.imaging.distance import alignments, unit_vectors
from stages.imaging.neighbours import Search, nearest

ROUNDS = 3
NEIGHBOURS = 5
SHAPES = {  # queries, references, channels, side
    "20,000 x 20,000 x 256": (20_000, 20_000, 1, 16),
    "4,000 x 4,000 x 3,072": (4_000, 4_000, 3, 32),
}
PART = 10  # scikit-learn gets one query in so many
ALIGNED = (4_000, 10_000, 1, 16)
MEMORY = {"few": 20_000, "many": 200_000}  # queries, to 20,000 references
MEMORY_REFERENCES = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", type=int, help="only search for so many, and print the memory this takes in MiB")
    peak_of = parser.parse_args().peak
    torch.set_num_threads(1)
    if peak_of:
        print(_peak(peak_of))
        return
    peaks = {name: _peak_of_process(count) for name, count in MEMORY.items()}
    print(
        f"{'seconds':<24}{'bare':>8}{'fresh':>8}{'search':>8}{'scikit-learn':>14}{'bare/search':>13}{'fresh/search':>14}"
    )
    ratios = {name: _speed(name, *shape) for name, shape in SHAPES.items()}
    aligned = _aligned()
    print(f"time of 9 and 18 alignments over that of 1, each: {aligned['9']:.2f} and {aligned['18']:.2f}")
    print(", ".join(f"{peaks[name]:.0f} MiB for {count:,} queries" for name, count in MEMORY.items()))
    print(json.dumps({"bare/search": ratios, "per alignment": aligned, "memory": peaks}))


def _speed(name: str, queries: int, references: int, channels: int, side: int) -> float:
    """Prints medians; returns the median ratio of the bare product's time to the search's."""
    query, reference = _images(queries, channels, side), _images(references, channels, side)
    left, right = (unit_vectors(images).float() for images in (query, reference))
    product = torch.empty(queries, references)
    work: list[Callable[[], object]] = [
        lambda: torch.mm(left, right.T, out=product),
        lambda: left @ right.T,
        lambda: nearest(query, reference, NEIGHBOURS, alignments(0, False, side, side)),
    ]
    work[0]()  # touches the product's memory
    rounds = [[_seconds(each) for each in work] for _ in range(ROUNDS)]
    bare, fresh, search = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio, fresh_ratio = (statistics.median(each[of] / each[2] for each in rounds) for of in (0, 1))
    oracle = PART * _seconds(lambda: _scikit_learn(query[::PART], reference))
    print(f"{name:<24}{bare:>8.2f}{fresh:>8.2f}{search:>8.2f}{oracle:>14.2f}{ratio:>13.2f}{fresh_ratio:>14.2f}")
    return round(ratio, 3)


def _scikit_learn(queries: torch.Tensor, references: torch.Tensor) -> None:
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        search = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(unit_vectors(references).numpy())
        search.kneighbors(unit_vectors(queries).numpy())


def _aligned() -> dict[str, float]:
    """By the number of alignments: the time that each takes over that of a search with one; at most 1 is wanted."""
    queries, references, channels, side = ALIGNED
    query, reference = _images(queries, channels, side), _images(references, channels, side)
    ways = {str(len(way)): way for way in (alignments(*of, side, side) for of in ((0, False), (1, False), (1, True)))}
    rounds = [
        {name: _seconds(partial(nearest, query, reference, NEIGHBOURS, way)) for name, way in ways.items()}
        for _ in range(ROUNDS)
    ]
    return {
        name: round(statistics.median(each[name] / each["1"] for each in rounds) / int(name), 3)
        for name in list(ways)[1:]
    }


def _images(count: int, channels: int, side: int) -> torch.Tensor:
    pixels = np.random.default_rng(count).integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    return torch.from_numpy(pixels)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _peak(count: int) -> float:
    """The memory, in MiB, that a search for `count` queries takes beside the images and the references' vectors."""
    search = Search(_images(MEMORY_REFERENCES, 1, 16), NEIGHBOURS, alignments(0, False, 16, 16))
    queries = _images(count, 1, 16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    search.nearest(queries)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


def _peak_of_process(count: int) -> float:
    """The same of a process of its own, which inherits this one's peak on Linux: ask before this one has done work."""
    command = [sys.executable, "-m", "benchmarks.neighbours", "--peak", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


if __name__ == "__main__":
    main()
