"""The one door to the model: the folder of a model repository -> a function from one window to its labels.

Today the model runs here, through ONNX Runtime, from `<repository>/ct-organs/1/model.onnx`: the same file an inference
server loads. Another way to run it is one more entry in `WAYS` and asks nothing of the callers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from preprocess import WINDOW

NAME = "ct-organs"
Predict = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


class NoModel(Exception):
    """The model is not there or is not the one this stage knows."""


@dataclass(frozen=True, slots=True)
class Model:
    """`predict`: input values [64, 64, 80] -> labels [64, 64, 80]; `digest`: SHA-256 of the file, hex."""

    predict: Predict
    digest: str


def in_process(repository: Path, threads: int) -> Model:
    """ONNX Runtime on the CPU. With one thread the same input gives the same bytes."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # its builds send some unless told not to
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotOffered

    file = repository / NAME / "1" / "model.onnx"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NoModel(
            f"{file} cannot be read ({error.strerror}); CLARA_MODELS must name the model repository"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotOffered, RuntimeError, ValueError) as error:
        raise NoModel(f"{file} is not a model that ONNX Runtime loads: {str(error)[:200]}") from None
    _check(session, file)

    def predict(window: NDArray[np.float32]) -> NDArray[np.uint8]:
        labels: NDArray[np.uint8] = session.run(["LABELS"], {"INPUT": window[None, None]})[0][0]
        return labels

    return Model(predict, hashlib.sha256(content).hexdigest())


def _check(session: object, file: Path) -> None:
    """Names, types and shapes as in config.pbtxt; a wrong model must not fail in the middle of a study."""
    given = {v.name: (v.type, tuple(v.shape)) for v in session.get_inputs() + session.get_outputs()}  # type: ignore[attr-defined]
    wanted = {"INPUT": ("tensor(float)", (1, 1, *WINDOW)), "LABELS": ("tensor(uint8)", (1, *WINDOW))}
    if given != wanted:
        raise NoModel(f"{file} takes and gives {given}; this stage needs {wanted}")


WAYS: dict[str, Callable[[Path, int], Model]] = {"in-process": in_process}


def load(repository: Path, threads: int, way: str = "in-process") -> Model:
    """The model, ready. Raises NoModel."""
    return WAYS[way](repository, threads)
