"""torch.compile, which may fail at its first use only (no compiler in the image, an operator it does not know)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ctseg import quickstart

Forward = Callable[[torch.Tensor], torch.Tensor]


def compiled(model: torch.nn.Module, say: Callable[[str], None]) -> Forward:
    """The model's forward, compiled; from the first failure on it is the model's own."""
    quickstart.remove()
    try:
        fast: Forward = torch.compile(model)
    except Exception as error:  # noqa: BLE001 - whatever the compiler lacks, the training does not need it
        say(f"WARNING: the model cannot be compiled and runs as it is: {_first_line(error)}")
        return model
    return _FallBack(fast, model, say)


def gives_up(forward: Forward, error: Exception) -> bool:
    """After an error of the backward pass: whether that of `forward` was compiled, and from now on is not, so that the
    step is worth another try. Seen on a GPU: a gradient in another memory layout than the compiler had expected.
    """
    return isinstance(forward, _FallBack) and forward.gives_up(error)


class _FallBack:
    def __init__(self, fast: Forward, model: Forward, say: Callable[[str], None]) -> None:
        self._fast: Forward | None = fast
        self._model, self._say = model, say

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if self._fast is None:
            return self._model(images)
        try:
            return self._fast(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - as above; an error of the model itself comes again below
            self.gives_up(error)
        return self._model(images)

    def gives_up(self, error: Exception) -> bool:
        if self._fast is None:
            return False
        self._fast = None
        self._say(f"WARNING: the compiled model fails, it goes on as it is: {_first_line(error)}")
        return True


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
