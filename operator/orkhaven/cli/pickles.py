"""Reads a pickle of plain values and runs nothing of it.

A pickle names functions that its reader calls. Here no name leads anywhere but to the stand-ins below: they take
numpy's numbers and arrays apart by their bytes, without numpy, and everything else is refused with its name.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from typing import Any

MAX_BYTES = 64 * 2**20
MAX_NUMBERS = 4_000_000
"""Of one array."""

_CODES = {"b1": "?", "f2": "e", "f4": "f", "f8": "d"}
_CODES |= {"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}


class Refused(Exception):
    """The pickle holds more than plain values. The text says what."""


class _Dtype:
    """Stands for numpy.dtype: a code such as f8, and the order of its bytes."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if code not in _CODES:
            raise Refused(f"an array of dtype {code!r}")
        self.format = _CODES[code]
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise Refused("a dtype with fields")
        self.order = ">" if state[1] == ">" else "<"

    def unpack(self, data: Any, count: int) -> list[Any]:
        if isinstance(data, str):
            data = data.encode("latin-1")
        size = struct.calcsize(self.format)
        if not isinstance(data, bytes) or count > MAX_NUMBERS or len(data) != size * count:
            raise Refused("an array whose size and bytes do not agree")
        return list(struct.unpack(f"{self.order}{count}{self.format}", data))


class _Array:
    """Stands for numpy.ndarray."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise Refused("an array that numpy would not have written")
        shape = state[1]
        if not isinstance(shape, tuple) or not all(isinstance(size, int) and size >= 0 for size in shape):
            raise Refused("an array without a shape")
        self.values = state[2].unpack(state[4], math.prod(shape))


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> _Array:
    """How protocol 5 writes an array."""
    made = _Array()
    made.__setstate__((1, shape, dtype, order == "F", bytes(data) if isinstance(data, bytes | bytearray) else data))
    return made


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype):
        raise Refused("a number without a dtype")
    return dtype.unpack(data, 1)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, by which the old protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused(f"bytes in the encoding {encoding!r}")
    return text.encode("latin-1")


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    **{(module, "_reconstruct"): _reconstruct for module in _NUMPY},
    **{(module, "scalar"): _scalar for module in _NUMPY},
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}, which is no number, text, list or dictionary") from None

    def persistent_load(self, _: Any) -> Any:
        raise Refused("a reference to something outside of it")


def load(data: bytes) -> Any:
    """Lists, dictionaries, texts and numbers; numpy's numbers as Python's, its arrays as flat lists. Raises Refused."""
    if len(data) > MAX_BYTES:
        raise Refused(f"{len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        return _unwrapped(_Reader(io.BytesIO(data)).load(), 0)
    except Refused:
        raise
    except Exception as error:
        # A broken pickle can end in any exception at all: of struct, of the stand-ins' arguments, of pickle itself.
        raise Refused(f"no pickle that can be read: {type(error).__name__}: {error}") from error


def _unwrapped(value: Any, depth: int) -> Any:
    """With the stand-ins replaced by what they hold, as far down as a list of dictionaries goes."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, _Dtype):
        raise Refused("a bare dtype")
    if depth < 3 and isinstance(value, dict):
        return {key: _unwrapped(inner, depth + 1) for key, inner in value.items()}
    if depth < 3 and isinstance(value, list | tuple):
        return [_unwrapped(inner, depth + 1) for inner in value]
    return value
