"""The page of parameters is the one that the models make."""

from __future__ import annotations

from pathlib import Path

from ctseg.config import Params
from ctseg.config.reference import page

FILE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "trainer.md"


def test_the_page_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == page(), "run `make generate`"


def test_every_component_has_a_section_and_every_parameter_a_row() -> None:
    text = page()
    for name, field in Params.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if inner is None:
            assert f"| `{name}` |" in text
            continue
        assert f"\n## {name}\n" in text
        for part in inner:
            assert f"| `{name}.{part}` |" in text or f"\n## {name}.{part}\n" in text
