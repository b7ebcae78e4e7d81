"""The dashboard's own scripts and styles as one piece each, to stand inside a page. Pure.

A page from a disk cannot import modules: each becomes a function whose exports are found by its name. Our modules keep
to what this understands: `import {a, b} from "./x.js"`, and `export` before a declaration.
"""

from __future__ import annotations

import functools
import re

from orkhaven.hub.pages.static import assets

ECHARTS = "vendor/echarts-6.1.0/echarts.min.js"
MODULES = ("theme.js", "charts.js", "curves.js", "parallel.js", "scatter.js", "timeline.js", "report.js")
"""Each after those that it imports."""
STYLES = ("css/base.css", "css/panels.css")

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"\./([a-z]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function|class|const) ([A-Za-z_$][\w$]*)", re.MULTILINE)
_END_OF_SCRIPT = re.compile(r"</(?=script|style)|<!--", re.IGNORECASE)


@functools.cache
def script() -> str:
    """Without the library."""
    made = ['"use strict";\nconst modules = {};']
    made += [_module(name, assets()[f"js/{name}"].plain.decode()) for name in MODULES]
    return _checked("\n".join(made))


@functools.cache
def library() -> str:
    return _checked(assets()[ECHARTS].plain.decode())


@functools.cache
def styles() -> str:
    return _checked("\n".join(assets()[path].plain.decode() for path in STYLES))


def _module(name: str, source: str) -> str:
    for _, imported in _IMPORT.findall(source):
        if imported not in MODULES[: MODULES.index(name)]:
            raise ValueError(f"{name} imports {imported}, which does not stand before it")
    names = [found[1] for found in _EXPORT.findall(source)]
    body = _IMPORT.sub(_required, source)
    body = _EXPORT.sub(r"\1 \2", body)
    if re.search(r"^(import|export)\b", body, re.MULTILINE):
        raise ValueError(f"{name} imports or exports in a way that cannot be put together")
    return f"modules[{name!r}] = (() => {{\n{body}\nreturn {{ {', '.join(names)} }};\n}})();"


def _required(found: re.Match[str]) -> str:
    names = (found[1] or "").replace(" as ", ": ")
    return f"const {{{names}}} = modules[{found[2]!r}];" if names else ""


def _checked(text: str) -> str:
    if _END_OF_SCRIPT.search(text):
        raise ValueError("a script or style would end its own element")
    return text
