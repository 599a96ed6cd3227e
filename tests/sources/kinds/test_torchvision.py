import sys
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.kinds import torchvision
from stages.sources.params import TorchvisionParams


def make_params(root: Path, name: str, download: bool = False) -> TorchvisionParams:
    return TorchvisionParams(kind="torchvision", path=str(root), name=name, download=download)


def write_idx(path: Path, values: np.ndarray) -> None:
    """The format of MNIST: magic number, sizes, unsigned bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = np.array([0x800 + values.ndim, *values.shape], dtype=">i4")
    path.write_bytes(sizes.tobytes() + values.astype(np.uint8).tobytes())


def write_mnist(raw: Path, prefixes: dict[str, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random 5x5 images, two of each class, in files with these prefixes and numbers of classes."""
    random = np.random.default_rng(0)
    written = {}
    for prefix, classes in prefixes.items():
        pixels = random.integers(0, 256, (2 * classes, 5, 5), dtype=np.uint8)
        labels = random.permutation(np.repeat(np.arange(classes), 2))
        write_idx(raw / f"{prefix}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
        written[prefix] = (pixels, labels)
    return written


def write_signs(root: Path) -> None:
    """GTSRB: a folder per class for training, a CSV for the test images; the classes have no names."""
    base = root / "gtsrb"
    rows = ["Filename;Width;Height;ClassId"]
    for label in range(2):
        folder = base / "GTSRB" / "Training" / f"{label:05d}"
        test = base / "GTSRB" / "Final_Test" / "Images"
        for each in (folder, test):
            each.mkdir(parents=True, exist_ok=True)
        for index in range(2):
            Image.new("RGB", (6, 4), (100 * label, index, 0)).save(folder / f"{index}.ppm")
        Image.new("RGB", (6, 4), (100 * label, 9, 0)).save(test / f"{label}.ppm")
        rows.append(f"{label}.ppm;6;4;{label}")
    (base / "GT-final_test.csv").write_text("\n".join(rows))


@pytest.mark.parametrize(
    ("name", "part"), [(name, part) for name, parts in torchvision._SETS.items() for part in parts]
)
def test_torchvision_knows_every_set_and_split_by_these_arguments(tmp_path: Path, name: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        torchvision._open(make_params(tmp_path, name), part, download=False)
    assert not any(words in str(caught.value) for words in ("Unknown value", "keyword", "argument", "attribute"))
    assert any(
        words in str(caught.value) for words in ("missing or damaged in", "put its files there as", "pip install")
    )


def test_the_official_split_labels_and_pixels_are_kept(tmp_path: Path) -> None:
    written = write_mnist(tmp_path / "MNIST" / "raw", {"train": 10, "t10k": 10})
    params = make_params(tmp_path, "MNIST")
    listing = torchvision.find(params)
    assert listing.class_names[3] == "3 - three"
    for split, prefix in (("train", "train"), ("test", "t10k")):
        rows = np.flatnonzero(listing.splits == split)
        images = list(torchvision.read(params, [listing.locators[row] for row in rows]))
        assert np.array_equal(np.stack([np.asarray(image) for image in images]), written[prefix][0])
        assert np.array_equal(listing.labels[rows], written[prefix][1])
    assert listing.ids[0] == "train/000000"
    assert len(set(listing.ids)) == len(listing) == 40


def test_reading_does_not_depend_on_order_or_chunks(tmp_path: Path) -> None:
    write_mnist(tmp_path / "KMNIST" / "raw", {"train": 10, "t10k": 10})
    params = make_params(tmp_path, "KMNIST")
    locators = torchvision.find(params).locators
    whole = [np.asarray(image) for image in torchvision.read(params, locators)]
    order = np.random.default_rng(0).permutation(len(locators))
    for row in order:
        (image,) = torchvision.read(params, [locators[row]])
        assert np.array_equal(np.asarray(image), whole[row])


def test_emnist_is_read_upright(tmp_path: Path) -> None:
    written = write_mnist(tmp_path / "EMNIST" / "raw", {"emnist-balanced-train": 47, "emnist-balanced-test": 47})
    params = make_params(tmp_path, "EMNIST")
    listing = torchvision.find(params)
    (image,) = torchvision.read(params, listing.locators[:1])
    assert np.array_equal(np.asarray(image), written["emnist-balanced-train"][0][0].T)
    assert len(listing.class_names) == 47


def test_what_stl10_has_no_labels_for_is_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    monkeypatch.setattr(STL10, "_check_integrity", lambda _: True)
    folder = tmp_path / STL10.base_folder
    folder.mkdir()
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    (folder / "fold_indices.txt").write_text("")
    for part, count in (("train", 4), ("test", 2), ("unlabeled", 3)):
        np.full((count, 3, 96, 96), count, np.uint8).tofile(folder / f"{part}_X.bin")
        (np.arange(count, dtype=np.uint8) % 2 + 1).tofile(folder / f"{part}_y.bin")
    params = make_params(tmp_path, "STL10")
    listing = torchvision.find(params)
    assert listing.class_names == ["airplane", "bird"]
    assert listing.labels.tolist() == [0, 1, 0, 1, 0, 1] + [UNLABELLED] * 3
    assert listing.splits.tolist() == ["train"] * 4 + ["test"] * 2 + [""] * 3
    images = list(torchvision.read(params, listing.locators))
    assert [np.asarray(image).max() for image in images] == [4] * 4 + [2] * 2 + [3] * 3


def test_a_set_without_official_split_has_none(tmp_path: Path) -> None:
    for name in ("Forest", "River"):
        folder = tmp_path / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / "1.jpg")
    listing = torchvision.find(make_params(tmp_path, "EuroSAT"))
    assert listing.class_names == ["Forest", "River"]
    assert listing.splits.tolist() == ["", ""]
    assert listing.ids.tolist() == ["000000", "000001"]


def test_classes_without_names_are_called_by_their_numbers(tmp_path: Path) -> None:
    write_signs(tmp_path)
    listing = torchvision.find(make_params(tmp_path, "GTSRB"))
    assert listing.class_names == ["0", "1"]
    assert listing.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert listing.splits.tolist() == ["train"] * 4 + ["test"] * 2


def test_a_truncated_image_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    write_signs(tmp_path)
    broken = tmp_path / "gtsrb" / "GTSRB" / "Training" / "00000" / "1.ppm"
    broken.write_bytes(broken.read_bytes()[:-5])
    params = make_params(tmp_path, "GTSRB")
    images = list(torchvision.read(params, torchvision.find(params).locators))
    assert [isinstance(image, BadItem) for image in images] == [False, True] + [False] * 4
    assert isinstance(images[1], BadItem)
    assert "truncated" in images[1].reason


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", "'mnist' is no image classification set.*did you mean MNIST or "),
        ("CIFAR-10", "did you mean CIFAR10"),
        ("CocoDetection", "'CocoDetection' is no image classification set.*Allowed: CIFAR10, CIFAR100"),
        ("__doc__", "is no image classification set"),
    ],
)
def test_an_unknown_name_gets_the_allowed_ones(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        torchvision.find(make_params(tmp_path, name))


def test_a_set_that_is_not_there_gets_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"MNIST is missing or damaged in .*nowhere.*set the source.s `download` to true"
    ):
        torchvision.find(make_params(tmp_path / "nowhere", "MNIST"))
    with pytest.raises(UserError, match=r"FER2013 is not complete in .*nowhere.*cannot be downloaded"):
        torchvision.find(make_params(tmp_path / "nowhere", "FER2013", download=True))


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "USPS", "GTSRB"])
def test_no_network_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(UserError, match=rf"{name} could not be downloaded to .*name resolution.*check the network"):
        torchvision.find(make_params(tmp_path / "root", name, download=True))


def test_a_download_with_the_wrong_checksum_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import utils

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(utils, "_urlretrieve", lambda _, path: Path(path).write_bytes(b"an error page"))
    with pytest.raises(UserError, match=r"could not be downloaded to .*corrupted.*delete what is left"):
        torchvision.find(make_params(tmp_path, "FashionMNIST", download=True))


def test_a_set_that_is_there_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", {"train": 10, "t10k": 10})
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked the network"))
    assert len(torchvision.find(make_params(tmp_path, "MNIST", download=True))) == 40


@pytest.mark.parametrize(("name", "package"), [("SVHN", "scipy"), ("PCAM", "h5py")])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    from torchvision.datasets import SVHN

    monkeypatch.setattr(SVHN, "_check_integrity", lambda _: True)
    for module in (package, f"{package}.io"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"{name} needs a package that is missing: `.venv/bin/pip install {package}`"):
        torchvision.find(make_params(tmp_path, name))


def test_damaged_files_are_told_in_words(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", {"train": 10, "t10k": 10})
    write_idx(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.full(20, 77))
    with pytest.raises(UserError, match=r"MNIST in .* has labels without a class"):
        torchvision.find(make_params(tmp_path, "MNIST"))
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    with pytest.raises(UserError, match=r"MNIST is missing or damaged in"):
        torchvision.find(make_params(tmp_path, "MNIST"))
