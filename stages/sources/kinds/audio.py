"""Recordings as log-mel spectrograms, which an image classifier and a GAN take like any picture."""

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.imaging.decoding import BadItem, read_bytes
from stages.plumbing.errors import UserError
from stages.sources.attempts import attempts
from stages.sources.listing import Listing
from stages.sources.params import AudioParams
from stages.sources.tree import list_tree

# Endings of what libsndfile reads with a header that tells its format.
SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".snd", ".w64", ".wav"}
)
LARGEST_CLIP = 2**28  # samples over all channels: 1 GiB


def find(params: AudioParams) -> Listing:
    """All recordings in the folder, by class, split and pool as `list_tree` says; decodes none.

    Raises UserError for what spoils the tree, when librosa or soundfile is missing, and when the parameters do not
    fit each other: the window is longer than the clip or shorter than the hop, or cannot tell the mel bands apart.
    """
    _check_params(params)
    return list_tree(Path(params.path), SUFFIXES, "recording")


def read(params: AudioParams, locators: Sequence[str]) -> Iterator[Image.Image | BadItem]:
    """Spectrograms of the recordings at `locators`, in that order: mode L, mel_bands rows, as many columns as frames.

    Only the middle `clip_seconds` of a longer recording are read; a shorter one lies in the middle of silence.
    """
    root = Path(params.path)
    return attempts(lambda locator: spectrogram(clip(read_bytes(root, locator), params), params), locators)


def clip(data: bytes, params: AudioParams) -> NDArray[np.float32]:
    """The middle of the recording in `data`, (clip_seconds * sample_rate,), channels averaged, resampled (soxr).

    Raises BadItem when it is no recording, cut off or of no length, has more than `LARGEST_CLIP` samples in the part
    that is used, or NaN or infinity among them.
    """
    import librosa
    import soundfile

    if not data:
        raise BadItem("empty", "has no content (0 bytes): copy it anew or remove it")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            wanted = min(file.frames, round(params.clip_seconds * file.samplerate))
            if wanted * file.channels > LARGEST_CLIP:
                raise BadItem("too_large", "has too many samples in each second: resample it or remove it")
            file.seek((file.frames - wanted) // 2)
            channels = file.read(wanted, dtype="float32", always_2d=True)
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        reason = f"is no recording that libsndfile can read, or damaged ({error.error_string})"
        raise BadItem("undecodable", f"{reason}: convert it to WAV or FLAC, copy it anew or remove it") from None
    if not wanted:
        raise BadItem("empty", "has a length of zero: record it anew or remove it")
    if len(channels) < wanted:
        raise BadItem("truncated", "ends before the length in its header: copy it anew or remove it")
    if not np.isfinite(channels).all():
        raise BadItem("not_a_number", "has samples that are NaN or infinite: export it anew or remove it")
    samples = librosa.resample(channels.mean(axis=1), orig_sr=rate, target_sr=params.sample_rate, res_type="soxr_hq")
    return _centred(samples, _samples(params.clip_seconds, params))


def spectrogram(samples: NDArray[np.float32], params: AudioParams) -> Image.Image:
    """Log-mel spectrogram (librosa: Hann window, Slaney's mel scale) as a grey image, low frequencies at the bottom.

    White is the loudest point of the clip, black whatever is `range_decibels` or more below it; silence is black.
    Every frame lies within the clip: there are 1 + (clip - window) // hop.
    """
    import librosa

    power = librosa.feature.melspectrogram(
        y=samples,
        sr=params.sample_rate,
        n_fft=_samples(params.window_seconds, params),
        hop_length=_samples(params.hop_seconds, params),
        n_mels=params.mel_bands,
        center=False,
    )
    relative = power / (power.max() or 1)
    decibels = librosa.power_to_db(relative, ref=1.0, amin=10 ** (-params.range_decibels / 10), top_db=None)
    grey = np.rint(255 * (1 + decibels / params.range_decibels)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(grey[::-1]))


def _check_params(params: AudioParams) -> None:
    """Raises UserError when the libraries are missing or the parameters do not fit each other."""
    try:
        import librosa
        import soundfile  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: libsndfile itself
        raise UserError(
            f"the source kind audio needs librosa and soundfile ({error}): `make extras` installs them"
        ) from None

    if params.window_seconds > params.clip_seconds:
        raise UserError(
            f"the source's window_seconds ({params.window_seconds}) is longer than its clip_seconds "
            f"({params.clip_seconds}): shorten the window"
        )
    if params.hop_seconds > params.window_seconds:
        raise UserError(
            f"the source's hop_seconds ({params.hop_seconds}) is longer than its window_seconds "
            f"({params.window_seconds}), and the sound between would be lost: shorten the hop or lengthen the window"
        )
    if not _samples(params.hop_seconds, params):
        raise UserError(
            f"the source's hop_seconds ({params.hop_seconds}) is less than one sample at sample_rate "
            f"{params.sample_rate}: lengthen it"
        )
    window = _samples(params.window_seconds, params)
    with warnings.catch_warnings(action="ignore"):  # librosa only warns of empty filters
        filters = librosa.filters.mel(sr=params.sample_rate, n_fft=window, n_mels=params.mel_bands)
    empty = int((filters.max(axis=1) <= 0).sum())
    if empty:
        raise UserError(
            f"{empty} of the source's {params.mel_bands} mel_bands lie between the frequencies that a window of "
            f"{params.window_seconds} s tells apart at sample_rate {params.sample_rate}: use fewer bands or a longer "
            "window"
        )


def _samples(seconds: float, params: AudioParams) -> int:
    return round(seconds * params.sample_rate)


def _centred(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The middle `length` samples, with silence on both sides where there are fewer."""
    import librosa

    start = max(0, (len(samples) - length) // 2)
    return librosa.util.pad_center(samples[start : start + length], size=length)
