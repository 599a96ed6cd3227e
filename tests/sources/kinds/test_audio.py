import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.imaging.decoding import BadItem
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.kinds import audio
from stages.sources.params import AudioParams

RATE = 8000


def make_params(path: Path | str = "nowhere", **changes: Any) -> AudioParams:
    values = {
        "kind": "audio",
        "path": str(path),
        "sample_rate": RATE,
        "clip_seconds": 0.6,
        "window_seconds": 0.06,
        "hop_seconds": 0.036,
        "mel_bands": 16,
        "range_decibels": 60,
    }
    return AudioParams.model_validate(values | changes)


def tone(frequency: float, seconds: float = 0.6, rate: int = RATE, amplitude: float = 0.25) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def encode(samples: np.ndarray, rate: int = RATE, **options: str) -> bytes:
    """A WAV file of 64-bit floats, unless the options say otherwise."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **({"format": "WAV", "subtype": "DOUBLE"} | options))
    return buffer.getvalue()


def picture(data: bytes, **changes: Any) -> np.ndarray:
    params = make_params(**changes)
    return np.asarray(audio.spectrogram(audio.clip(data, params), params))


def write_tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_a_higher_tone_lights_a_higher_row() -> None:
    rows = [int(picture(encode(tone(frequency))).sum(axis=1).argmax()) for frequency in (200, 600, 1200, 2000, 3500)]
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) == len(rows)
    assert rows[0] >= 13
    assert rows[-1] <= 1


@settings(max_examples=20)
@given(
    clip=st.integers(60, 800),
    window=st.integers(20, 60),
    hop=st.integers(5, 20),
    bands=st.integers(8, 20),
    length=st.integers(200, 1500),
)
def test_the_picture_has_the_bands_and_frames_asked_for(
    clip: int, window: int, hop: int, bands: int, length: int
) -> None:
    noise = np.random.default_rng(length).normal(size=length * RATE // 1000) / 10
    pixels = picture(
        encode(noise),
        clip_seconds=clip / 1000,
        window_seconds=window / 1000,
        hop_seconds=hop / 1000,
        mel_bands=bands,
    )
    assert pixels.shape == (bands, 1 + (clip - window) // hop)
    assert pixels.max() == 255


@settings(max_examples=20)
@given(exponent=st.integers(-12, 2))
def test_loudness_does_not_matter(exponent: int) -> None:
    samples = tone(700) + np.random.default_rng(0).normal(size=4800) / 50
    assert np.array_equal(picture(encode(samples * 2.0**exponent)), picture(encode(samples)))


def test_stereo_of_the_same_channel_twice_is_mono() -> None:
    samples = tone(700)
    assert np.array_equal(picture(encode(np.stack([samples, samples], axis=1))), picture(encode(samples)))


def test_the_sample_rate_of_the_file_hardly_matters() -> None:
    original, resampled = (
        picture(encode(tone(300, rate=rate) + tone(1100, rate=rate), rate)).astype(float) for rate in (RATE, 44_100)
    )
    assert np.abs(original - resampled).mean() < 3


def test_the_format_of_the_file_does_not_matter() -> None:
    samples = np.round(tone(700) * 2**15) / 2**15
    wav, flac = (encode(samples, format=kind, subtype="PCM_16") for kind in ("WAV", "FLAC"))
    assert np.array_equal(picture(wav), picture(flac))


def test_a_louder_range_shows_more_of_the_quiet() -> None:
    data = encode(tone(700) + np.random.default_rng(0).normal(size=4800) / 1000)
    narrow, wide = (picture(data, range_decibels=decibels) for decibels in (30, 90))
    assert (narrow == 0).sum() > 100
    assert (wide == 0).sum() == 0


def test_the_middle_of_a_long_recording_is_taken_and_a_short_one_lies_in_the_middle() -> None:
    silence = np.zeros(RATE)
    long = np.concatenate([tone(300, 1), silence, tone(2000, 0.6), silence, tone(300, 1)])
    assert np.array_equal(picture(encode(long)), picture(encode(tone(2000, 0.6))))
    short = picture(encode(tone(2000, 0.2)))
    lit = np.flatnonzero(short.max(axis=0))
    assert short[:, 0].max() == short[:, -1].max() == 0
    assert abs(lit.mean() - (short.shape[1] - 1) / 2) <= 0.5


def test_silence_is_black() -> None:
    assert picture(encode(np.zeros(4800))).max() == 0


def test_a_tree_of_recordings_is_listed_and_read_in_any_order(tmp_path: Path) -> None:
    names = ["low/a b.wav", "low/é.wav", "high/c.FLAC", "unlabelled/d.wav"]
    files = {name: encode(tone(300 * (index + 1))) for index, name in enumerate(names)}
    files["high/c.FLAC"] = encode(tone(900), format="FLAC", subtype="PCM_16")
    params = make_params(write_tree(tmp_path, files | {"low/notes.txt": b"no recording"}))
    listing = audio.find(params)
    assert listing.class_names == ["high", "low"]
    assert listing.ids.tolist() == ["high/c.FLAC", "low/a b.wav", "low/é.wav", "unlabelled/d.wav"]
    assert listing.labels.tolist() == [0, 1, 1, UNLABELLED]
    forwards = [np.asarray(image) for image in audio.read(params, listing.locators)]
    backwards = [np.asarray(image) for image in audio.read(params, listing.locators[::-1])]
    assert all(np.array_equal(one, other) for one, other in zip(forwards, backwards[::-1], strict=True))


@pytest.mark.parametrize(
    ("data", "fault", "words"),
    [
        (b"", "empty", "0 bytes"),
        (encode(np.zeros(0)), "empty", "length of zero"),
        (encode(np.append(tone(300), np.nan)), "not_a_number", "NaN or infinite"),
        (encode(np.append(tone(300), -np.inf)), "not_a_number", "NaN or infinite"),
        (b"just some words, whatever the name of the file says", "undecodable", "is no recording"),
        (encode(np.random.default_rng(0).normal(size=9000) / 9, format="FLAC", subtype="PCM_16")[:9000], None, "copy"),
    ],
    ids=["no bytes", "no sample", "NaN", "infinite", "words", "cut off"],
)
def test_a_bad_recording_gets_words_and_the_others_are_read(
    tmp_path: Path, data: bytes, fault: str | None, words: str
) -> None:
    params = make_params(write_tree(tmp_path, {"a/good.wav": encode(tone(300)), "b/bad.wav": data}), clip_seconds=2)
    good, bad = audio.read(params, audio.find(params).locators)
    assert isinstance(good, Image.Image)
    assert isinstance(bad, BadItem)
    assert bad.fault in ((fault,) if fault else ("undecodable", "truncated"))
    assert words in bad.reason


def test_a_recording_of_too_many_samples_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "LARGEST_CLIP", 9600)
    assert picture(encode(np.stack([tone(300)] * 2, axis=1))).any()
    with pytest.raises(BadItem, match="too many samples in each second") as caught:
        picture(encode(np.stack([tone(300)] * 3, axis=1)))
    assert caught.value.fault == "too_large"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clip_seconds": 0.05}, r"window_seconds \(0.06\) is longer than its clip_seconds \(0.05\)"),
        ({"hop_seconds": 0.1}, r"hop_seconds \(0.1\) is longer than its window_seconds \(0.06\), and the sound"),
        ({"hop_seconds": 0.00001}, r"hop_seconds \(1e-05\) is less than one sample at sample_rate 8000"),
        (
            {"mel_bands": 256, "window_seconds": 0.04},
            r"of the source's 256 mel_bands lie between the frequencies.*fewer bands or a longer window",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_told_in_words(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    tree = write_tree(tmp_path, {"a/a.wav": encode(tone(300)), "b/b.wav": encode(tone(300))})
    with pytest.raises(UserError, match=words):
        audio.find(make_params(tree, **changes))


@pytest.mark.parametrize("package", ["librosa", "soundfile"])
def test_a_missing_package_is_told_in_words(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{package}.*`make extras`"):
        audio.find(make_params())
