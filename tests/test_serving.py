"""The registered classifier behind `mlflow models serve`, asked over HTTP as any program would."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.imaging.decoding import decode
from stages.imaging.normalise import to_pixels
from stages.plumbing import images
from stages.sources.params import ImageParams
from stages.tracking import recording
from stages.tracking.ui import wait_for
from tests.security.test_bombs import png, zeros
from tests.test_mlflow_server import free_port
from tests.tracking import toy
from tests.tracking.toy import CLASSES, ROOT, SHAPE

IMAGE = ImageParams(size=SHAPE[1], channels="grey", fit="pad", flip_ok=True)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the best classifier of a small project is served, as docs/operate.md says, in a folder of another one."""
    folder, port = tmp_path_factory.mktemp("serving") / "my project", free_port()
    toy.write_pipeline(folder)
    (folder / "mlflow.db").write_bytes(toy.migrated_store())
    (folder.parent / "stages").mkdir()
    (folder.parent / "stages/__init__.py").write_text("raise ImportError('the model brings its own code')")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        recording.record_comparison(toy.settings())
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    model = "models:/understudy-classifier-pets@best"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "--model-uri",
        model,
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=folder.parent, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", process, folder / "log")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(address: str, body: bytes, content_type: str = "application/json") -> tuple[int, Any]:
    """Status and answer."""
    request = urllib.request.Request(address, body, {"Content-Type": content_type})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def as_request(*files: bytes) -> bytes:
    records = [{"image": base64.b64encode(data).decode()} for data in files]
    return json.dumps({"dataframe_records": records}).encode()


def picture(mode: str, size: tuple[int, int], kind: str = "PNG") -> bytes:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(bands).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if bands == 1 else pixels, mode).save(buffer, kind)
    return buffer.getvalue()


def expected(*files: bytes) -> list[dict[str, Any]]:
    """What the classifier of the best arm and replicate says of what `prepare` would make of the files."""
    import torch

    from stages.imaging.networks import predict

    pixels = np.stack([to_pixels(decode(data), IMAGE) for data in files])
    rows = predict(toy.classifier(), torch.from_numpy(pixels)).numpy()
    return [
        {"class": CLASSES[row.argmax()], "probabilities": dict(zip(CLASSES, map(pytest.approx, row), strict=True))}
        for row in rows
    ]


def test_a_png_is_answered_with_its_class_and_all_probabilities(address: str) -> None:
    exact = images.encode_png(np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8))
    status, answer = ask(address, as_request(exact))
    assert status == 200
    assert answer == {"predictions": expected(exact)}
    assert sum(answer["predictions"][0]["probabilities"].values()) == pytest.approx(1)


def test_images_of_any_form_become_what_prepare_makes_of_them(address: str) -> None:
    files = [
        picture("L", (8, 8)),
        picture("RGB", (31, 17)),
        picture("RGBA", (9, 40)),
        picture("RGB", (64, 64), "JPEG"),
    ]
    assert ask(address, as_request(*files)) == (200, {"predictions": expected(*files)})


def test_a_table_of_images_may_be_parquet(address: str) -> None:
    files = [picture("L", (8, 8)), picture("L", (20, 20))]
    table = pd.DataFrame({"image": files}).to_parquet()
    kind = "application/vnd.apache.parquet"
    assert ask(address, table, kind) == (200, {"predictions": expected(*files)})


GOOD = picture("L", (8, 8))
BAD = {
    "empty": (as_request(b""), "0 bytes"),
    "no image": (as_request(GOOD, b"these are words"), "image 1 is no image"),
    "cut off": (as_request(picture("RGB", (40, 40))[:900]), "cut off or damaged"),
    "bomb": (as_request(png(40_000, 40_000, zeros(10**6))), "pixels"),
    "no base64": (json.dumps({"dataframe_records": [{"image": "abc"}]}).encode(), "column image"),
    "null": (json.dumps({"dataframe_records": [{"image": None}]}).encode(), "column image"),
    "a number": (json.dumps({"dataframe_records": [{"image": 7}]}).encode(), "column image"),
    "other column": (json.dumps({"dataframe_records": [{"picture": "abcd"}]}).encode(), "image"),
    "nothing": (json.dumps({"dataframe_records": []}).encode(), "image"),
    "arrays": (json.dumps({"inputs": np.zeros((1, *SHAPE), int).tolist()}).encode(), "image"),
    "no JSON": (b"{", "JSON"),
    "other JSON": (b"[1]", "JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_image_is_refused_in_words(address: str, case: str) -> None:
    body, words = BAD[case]
    status, answer = ask(address, body)
    assert status == 400
    assert words in answer["message"]
    assert "Traceback" not in json.dumps(answer)
    assert str(ROOT) not in json.dumps(answer)
    assert ask(address, as_request(GOOD))[0] == 200, "the server goes on"
