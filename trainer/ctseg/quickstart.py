"""Keeps torch's compiler from being imported before anybody asks for it: 4 of 10 CPU seconds of a trial's start.

torchvision, timm and torch.optim each touch `torch._dynamo` for a decorator that does nothing without a compiler. Until
something else of it is used (torch.compile, say), a stand-in answers for these few names; any other name loads the
real one.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_NAME = "torch._dynamo"


def _disable(function: Any = None, recursive: bool = True, **_: Any) -> Any:
    """What torch._dynamo.disable is to code that is not compiled: the function itself, or a decorator."""
    return function if function is not None else _disable


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _no(*_: Any, **__: Any) -> bool:
    return False


class _StandIn(ModuleType):
    def __init__(self, name: str, **light: Any) -> None:
        super().__init__(name)
        self.__dict__.update(light)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)  # the import machinery asks for these; nobody needs the compiler for them
        remove()
        return getattr(importlib.import_module(self.__name__), attribute)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Any other submodule of the stand-in is the real one's: loads that, and hands over what it has loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{_NAME}.") or not isinstance(sys.modules.get(_NAME), _StandIn):
            return None
        remove()
        importlib.import_module(fullname)
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run."""


_FINDER = _Finder()


def install() -> None:
    """Puts the stand-in where `import torch._dynamo` finds it. Nothing happens where the real one is loaded already."""
    if _NAME in sys.modules:
        return
    import torch

    utils = _StandIn(f"{_NAME}.utils", is_compile_supported=_no)
    dynamo = _StandIn(_NAME, disable=_disable, graph_break=_nothing, is_compiling=_no, utils=utils, __path__=[])
    sys.modules[_NAME], sys.modules[f"{_NAME}.utils"] = dynamo, utils
    torch.__dict__["_dynamo"] = dynamo
    sys.meta_path.insert(0, _FINDER)


def remove() -> None:
    """Makes way for the real module."""
    import torch

    for name in (f"{_NAME}.utils", _NAME):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
    if isinstance(torch.__dict__.get("_dynamo"), _StandIn):
        del torch.__dict__["_dynamo"]
