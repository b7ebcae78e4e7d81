"""httpx without its own command line.

`import httpx` also imports that command line wherever rich and pygments are installed, which takes two thirds of the
time (220 of 340 ms measured) and serves nothing here. It is optional to httpx itself.
"""

from __future__ import annotations

import sys

if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    import httpx

    del sys.modules["httpx._main"]
else:
    import httpx

__all__ = ["httpx"]
