"""The best model of a run, and the probabilities it gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import orkrun
from ctseg import checkpoint, config, models
from ctseg.data.samples import Uint8
from ctseg.evaluate import judging
from ctseg.metrics.threshold import UNCHOSEN, Threshold
from ctseg.report import run_folder
from ctseg.training import memory

EXPORTED = "model.safetensors"
METADATA = "ctseg"
"""Of an exported model's metadata the entry, JSON, that says all but the weights."""


@dataclass(frozen=True, slots=True)
class Trained:
    model: torch.nn.Module
    """In evaluation mode, on the CPU."""
    params: config.Params
    channels: int
    path: Path
    epoch: int
    pictures: bool | None = None
    """Learnt from 8-bit pictures that somebody had windowed; False: from HU. None: nobody says."""
    threshold: Threshold | None = None
    """What the run's held-out slices have chosen; None: nothing has. `threshold_of` says what to use then."""
    weights: str = "raw"
    """raw: of the training itself; ema: their running mean."""
    pretrained: str | None = None
    """File that the training began with."""
    last: bool = False
    """Of a checkpoint, not chosen as the best."""


def load(place: Path, *, network: tuple[torch.nn.Module, int] | None = None, last: bool = False) -> Trained:
    """From a run's folder (its best model; with `last` that of its newest checkpoint, chosen by nothing), a best.pt, or
    what `ctseg export` has made of one: model.safetensors or the folder with it. `network`, with the number of its
    channels, takes the weights where it is given, else one is built. Raises orkrun.DataError.
    """
    path = place
    if place.is_dir():
        path = place / (checkpoint.LATEST if last else checkpoint.BEST)
        if not path.exists() and (place / EXPORTED).exists():
            path = place / EXPORTED
    state = _exported(path) if path.suffix == ".safetensors" else checkpoint.load(path)
    if state is not None and path.name == checkpoint.LATEST:
        mean = state.get("ema")
        chosen = {"model": state["model"] if mean is None else mean, "weights": "raw" if mean is None else "ema"}
        state = {**state, **chosen, "epoch": state["progress"]["epochs"]}
    if state is None:
        raise orkrun.DataError(
            path, "there is no such file: the folder of a run that has finished an epoch is needed, or of an export"
        )
    if "params" not in state or "model" not in state:
        raise orkrun.DataError(path, f"holds no model with its parameters; the {checkpoint.BEST} of a run does")
    params = config.parse({**state["params"], "model": {**state["params"]["model"], "weights": None}})
    weights: dict[str, Any] = state["model"]
    # Data of pictures has one channel whatever windows are asked for: the first convolution knows.
    possible = sorted({1, len(params.data.windows)}, reverse=True) if network is None else [network[1]]
    for channels in possible:
        if network is None:
            model: torch.nn.Module = models.build(params.model, image_size=params.data.image_size, channels=channels)
        else:
            model = network[0]
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            problem = error
            continue
        pictures = state.get("pictures", True if channels < len(params.data.windows) else None)
        epoch = int(state.get("epoch", 0))
        return Trained(
            model.eval(),
            params,
            channels,
            path,
            epoch,
            pictures,
            threshold=_threshold(path, state, epoch),
            weights=str(state.get("weights", "raw")),
            pretrained=state["params"]["model"].get("weights"),
            last=path.name == checkpoint.LATEST,
        )
    raise orkrun.DataError(path, f"does not fit the network of its own parameters: {str(problem)[:300]}")


def _exported(path: Path) -> dict[str, Any] | None:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = (file.metadata() or {}).get(METADATA)
            if about is None:
                raise orkrun.DataError(path, "is not of `ctseg export`: it does not say how its model learnt")
            state: dict[str, Any] = json.loads(about)
            state["model"] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise orkrun.DataError(path, f"cannot be read as safetensors (truncated or damaged): {error}") from error
    return state


def _threshold(path: Path, state: dict[str, Any], epoch: int) -> Threshold | None:
    kept = state.get("threshold")  # of an exported model; a run's is in its report
    if isinstance(kept, dict):
        return Threshold(float(kept["value"]), str(kept["rule"])) if kept["rule"] != UNCHOSEN.rule else None
    return run_folder.threshold(path.parent, epoch=epoch)


def threshold_of(trained: Trained) -> Threshold:
    """The probability above which a pixel is lesion, and why: the run's own, else 0.5."""
    return trained.threshold or UNCHOSEN


def probabilities(
    model: torch.nn.Module,
    images: Uint8,
    *,
    batch_size: int,
    flips: bool = False,
    between: Callable[[], None] = lambda: None,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> npt.NDArray[np.float32]:
    """Of (n, C, H, W) slices, (n, H, W). `flips`: the mean over the four flips of a slice. Calls `between` before each
    batch, which may raise. Where the device has no memory left the batch is halved; raises torch.OutOfMemoryError where
    one slice is too much. Leaves the model's mode.
    """
    result = np.empty((len(images), *images.shape[2:]), np.float32)
    done = 0
    with judging(model):
        while done < len(images):
            between()
            chosen = np.array(images[done : done + batch_size])  # a memory map is read-only, torch wants its own
            try:
                with autocast():
                    result[done : done + len(chosen)] = _answers(model, chosen, flips=flips)
                done += len(chosen)
                continue
            except torch.OutOfMemoryError:
                if len(chosen) <= 1:
                    raise
            memory.free()
            batch_size = len(chosen) // 2
    return result


def _answers(model: torch.nn.Module, images: Uint8, *, flips: bool) -> npt.NDArray[np.float32]:
    device = next(model.parameters()).device
    batch = torch.from_numpy(images).to(device).float() / 255
    ways = list(_flips()) if flips else [[]]
    total = torch.zeros(batch.shape[0], 1, *batch.shape[2:], device=device)
    for axes in ways:
        given = batch.flip(axes) if axes else batch
        answer = torch.sigmoid(model(given).float())
        total += answer.flip(axes) if axes else answer
    mean: npt.NDArray[np.float32] = (total / len(ways)).squeeze(1).cpu().numpy()
    return mean


def _flips() -> Iterator[list[int]]:
    yield from ([], [2], [3], [2, 3])
