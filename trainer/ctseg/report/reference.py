"""The JSON schema of a report's result.json: `python -m ctseg.report.reference FILE` writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ctseg.report.schema import Result


def json_schema() -> str:
    return json.dumps(Result.model_json_schema(by_alias=True), indent=1) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json_schema(), encoding="utf-8")
