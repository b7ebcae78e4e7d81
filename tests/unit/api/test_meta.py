"""Quantities and durations: what they are worth."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkhaven.api.meta import parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("500m", Decimal("0.5")),
        ("1.5Gi", 3 * 2**29),
        ("16Gi", 2**34),
        ("1k", 1000),
        ("2T", 2 * 10**12),
        ("1Ki", 1024),
    ],
)
def test_a_quantity_has_its_value(text: str, value: Decimal) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "Gi", "16GB", "16 Gi", "-1", "1e3", "1.", ".5", "0x10", "١"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity such as 500m, 4 or 16Gi"):
        parse_quantity(text)


@given(st.integers(0, 9999), st.integers(0, 99999), st.integers(0, 999999), st.integers(0, 99999999))
def test_a_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == expected


@pytest.mark.parametrize("text", ["", "6", "6 h", "h", "1m1h", "-1s", "1.5h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time such as 90s, 30m, 6h or 1d12h"):
        parse_duration(text)
