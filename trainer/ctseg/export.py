"""A model for use without ctseg: safetensors, ONNX, and a config.json that says what goes in and what comes out.

What is exported gives probabilities, as `ctseg predict` writes them, and is compared with the model in torch before
anything is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import orkrun
from ctseg.config import Phantom
from ctseg.data.dataset import HU_MAX, PADDING_BELOW
from ctseg.data.phantom_folder import embedded
from ctseg.data.prepare import prepare
from ctseg.inference import EXPORTED, METADATA, Trained, threshold_of
from ctseg.models import Network, parameter_count

SCHEMA = 1
ONNX = "model.onnx"
CONFIG = "config.json"
OPSET = 18
"""Of ONNX: the oldest that torch's exporter writes, and so what most runtimes read."""
TOLERANCE = 1e-4
"""Of a probability. Float32 in another order of operations differs by some 1e-6."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Exported:
    files: dict[str, bytes]
    about: dict[str, Any]
    """What config.json holds."""


class Different(orkrun.RunError):
    """What was exported is not what the model says."""


class Probability(torch.nn.Module):
    """(N, C, H, W) of 0..1 to (N, 1, H, W) probabilities."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.network(images))


def export(
    trained: Trained,
    *,
    formats: Sequence[str],
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Raises orkrun.InvalidParams (a package that is missing,
    an opset that is not there), orkrun.RunError (the network cannot be exported, or gives other probabilities).
    """
    about = _about(trained)
    files: dict[str, bytes] = {}
    if "safetensors" in formats:
        files[EXPORTED] = _safetensors(trained, about)
    if "onnx" in formats:
        files[ONNX], about["onnx"] = _onnx(trained, about, opset=opset, tolerance=tolerance)
    about["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[CONFIG] = (json.dumps(about, indent=1, allow_nan=False) + "\n").encode()
    return Exported(files, about)


def _about(trained: Trained) -> dict[str, Any]:
    data, model = trained.params.data, trained.params.model
    network, threshold = trained.model, threshold_of(trained)
    assert isinstance(network, Network)
    values: dict[str, Any] = {
        "from": "HU",
        "clip": [PADDING_BELOW, HU_MAX],
        "windows": [list(window) for window in data.windows],
        "scale": "each window (low, high) is a channel: (HU - low) / (high - low), clipped to 0..1, in steps of 1/255",
    }
    if trained.pictures:
        values = {"from": "8-bit pictures", "scale": "grey / 255"}
    elif data.grey_range is not None:
        values["grey_range"] = list(data.grey_range)
    return {
        "schema": SCHEMA,
        "version": _version(),
        "network": {
            "architecture": model.architecture,
            "encoder": model.encoder,
            "parameters": parameter_count(network),
            "epoch": trained.epoch,
        },
        "input": {
            "name": "images",
            "type": "float32",
            "layout": "batch, channel, row, column",
            "channels": trained.channels,
            "slices": "axial; rows from front to back, columns from the patient's right to his left",
            "values": values,
            "size": {
                "side": data.image_size,
                "spacing_mm": data.spacing,
                "how": "bilinear to side x side"
                if data.spacing is None
                else "bilinear to spacing_mm, then cut or filled with black to side x side, centred",
                "multiple_of": network.stride,
                "at_least": max(network.smallest, network.stride),
            },
        },
        "output": {
            "name": "probability",
            "type": "float32",
            "layout": "batch, 1, row, column",
            "is": "probability of lesion, the sigmoid already taken",
        },
        "threshold": {"value": threshold.value, "rule": threshold.rule, "lesion": "probability > value"},
        "licence": "that of the data the model learnt from",
        "limits": "Not for diagnosis. No medical device.",
    }


def _safetensors(trained: Trained, about: dict[str, Any]) -> bytes:
    from safetensors.torch import load, save

    state = {name: value.detach().clone().contiguous() for name, value in trained.model.state_dict().items()}
    content = {
        "params": trained.params.model_dump(mode="json"),
        "epoch": trained.epoch,
        "pictures": trained.pictures,
        "schema": SCHEMA,
        "version": about["version"],
        "input": about["input"],
        "threshold": None if trained.threshold is None else about["threshold"],
        "output": "logits: the sigmoid of the network's answer is the probability",
    }
    packed: bytes = save(state, metadata={"format": "pt", METADATA: json.dumps(content)})
    back = load(packed)
    if back.keys() != state.keys() or any(not torch.equal(back[name], value) for name, value in state.items()):
        raise orkrun.RunError(f"{EXPORTED} does not give back the weights that were written")
    return packed


def _onnx(trained: Trained, about: dict[str, Any], *, opset: int, tolerance: float) -> tuple[bytes, dict[str, Any]]:
    missing = [name for name in ("onnx", "onnxscript") if not _installed(name)]
    if missing:
        raise orkrun.InvalidParams(
            "--format",
            f"onnx needs {' and '.join(missing)}, which is not installed: pip install 'orkhaven[export]'; "
            "--format safetensors does without",
        )
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if not OPSET <= opset <= newest:
        raise orkrun.InvalidParams("--opset", f"{opset} cannot be written: {OPSET} to {newest} can")
    network = Probability(trained.model).eval()
    inside = trained.model
    assert isinstance(inside, Network)
    side, step, channels = trained.params.data.image_size, inside.stride, trained.channels
    runtime = _installed("onnxruntime")
    shapes = [(1, side, side), (3, side, side)]
    others = [(2, side + step, side), (1, side, side + 2 * step)]
    # A size that is continued at its borders inside, or one that nothing can try, stays as it is.
    problem = "" if inside.fitting(side) == side else f"{side} pixels are continued to {inside.fitting(side)} inside"
    problem = problem or ("" if runtime else "onnxruntime is not installed to try other sizes")
    for free in (True, False):
        if free and problem:
            continue
        tried = shapes + others if free else shapes
        try:
            given = _examples(trained, tried)
            model = _exported(network, given, free=free, opset=opset)
            for key, value in (("ctseg", json.dumps(about)), ("limits", about["limits"])):
                entry = model.metadata_props.add()
                entry.key, entry.value = key, value
            content = model.SerializeToString()
            difference = compare(network, content, given, tolerance=tolerance) if runtime else None
        except Exception as error:
            reason = _reason(error)
            if free:
                problem = f"other sizes: {reason}"
                continue
            if isinstance(error, Different):
                raise
            raise orkrun.RunError(
                f"{trained.params.model.architecture} over {trained.params.model.encoder} cannot be exported as ONNX "
                f"{opset}: {reason}. --format safetensors works for every network"
            ) from error
        return content, {
            "opset": opset,
            "batch": "any",
            "rows_and_columns": f"any multiple of {step}" if free else side,
            "why_fixed": problem if not free else "",
            "parity": {
                "max_abs_difference": difference,
                "tolerance": tolerance,
                "against": f"onnxruntime {version('onnxruntime')}"
                if runtime
                else "nothing: onnxruntime is not installed",
                "shapes": [[n, channels, h, w] for n, h, w in tried] if runtime else [],
            },
        }
    raise AssertionError("the last way returns or raises")


def compare(network: torch.nn.Module, content: bytes, given: Sequence[Floats], *, tolerance: float) -> float:
    """The largest difference between torch and onnxruntime over all pixels. Raises Different above the tolerance."""
    wanted = [_torch(network, images) for images in given]
    got = _run(content, given)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(wanted, got, strict=True))
    if not difference <= tolerance:
        raise Different(
            f"{ONNX} gives other probabilities than torch, by up to {difference:.3g}; {tolerance:g} is allowed "
            "(--tolerance)"
        )
    return difference


def _exported(network: torch.nn.Module, given: list[Floats], *, free: bool, opset: int) -> Any:
    """torch's exporter over torch.export: its older one, by tracing, fails at adaptive pooling of a free batch."""
    auto = torch.export.Dim.AUTO
    # Rows unlike columns, and two slices: what is equal in the example would be taken as equal always.
    example = torch.from_numpy(given[2] if free else np.concatenate([given[0]] * 2))
    sides = {2: auto, 3: auto} if free else {}
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["probability"],
            dynamic_shapes=({0: torch.export.Dim("batch"), **sides},),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own log: what matters of it is in the error."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _examples(trained: Trained, shapes: Sequence[tuple[int, int, int]]) -> list[Floats]:
    """Generated slices of a chest, as the network is shown them, and one of noise: 0..1."""
    data, channels = trained.params.data, trained.channels
    case = embedded(Phantom(patients=2, slices=2, size=max(32, min(data.image_size, 256)))).cases[1]
    chest = prepare(case, data.model_copy(update={"spacing": None}), pictures=False)[0][:, :channels]
    rng = np.random.default_rng(0)
    slices = np.concatenate([chest, rng.integers(0, 256, chest[:1].shape, dtype=np.uint8)])
    result = []
    for number, rows, columns in shapes:
        _, _, height, width = slices.shape
        wider = np.pad(slices, ((0, 0), (0, 0), (0, rows - height), (0, columns - width)), mode="wrap")
        result.append(np.ascontiguousarray(wider[-number:]).astype(np.float32) / np.float32(255))
    return result


def _torch(network: torch.nn.Module, images: Floats) -> Floats:
    with torch.inference_mode():
        answer: Floats = network(torch.from_numpy(images)).numpy()
    if answer.shape != (len(images), 1, *images.shape[2:]):
        raise ValueError(f"torch itself makes {answer.shape} of {images.shape}")
    return answer


def _run(content: bytes, given: Sequence[Floats]) -> list[Floats]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"images": images})[0] for images in given]


def _reason(error: BaseException) -> str:
    """One line of what began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = re.sub(r"\x1b?\[[0-9;]*m", "", str(error)).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # a module that was made by hand
        return False


def _version() -> str:
    try:
        return version("orkhaven")
    except PackageNotFoundError:
        return "unknown"
