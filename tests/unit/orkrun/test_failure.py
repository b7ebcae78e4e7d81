"""Names, places and fingerprints of failures."""

from __future__ import annotations

import json

import pytest

import orkrun
from orkrun.failure import describe, normalise, qualified_name


class OwnError(Exception):
    pass


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ValueError, "ValueError"),
        (orkrun.InvalidParams, "orkrun.InvalidParams"),
        (orkrun.Diverged, "orkrun.Diverged"),
        (json.JSONDecodeError, "json.decoder.JSONDecodeError"),
    ],
)
def test_names_are_qualified_and_builtins_are_bare(kind: type[BaseException], name: str) -> None:
    assert qualified_name(kind) == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CUDA out of memory. Tried to allocate 2.50 GiB", "CUDA out of memory. Tried to allocate 512 MiB"),
        ("shape [8, 1, 160, 160] is wrong", "shape [4, 1, 96, 96] is wrong"),
        ("cannot open /data/a/b.png", "cannot open /mnt/c/d/e.png"),
        ("object at 0x7f3a90 died", "object at 0x1200ff died"),
        ("run 1f0c9a2b44 failed", "run deadbeef01 failed"),
    ],
)
def test_what_varies_from_run_to_run_is_not_in_the_signature(one: str, other: str) -> None:
    unit = {"GiB": "MiB"}
    for old, new in unit.items():
        one = one.replace(old, new)
    assert normalise(one) == normalise(other)


def test_different_messages_differ() -> None:
    assert normalise("index out of range") != normalise("list is empty")


def fail(message: str) -> None:
    raise OwnError(message)


def caught(message: str) -> BaseException:
    try:
        fail(message)
    except OwnError as error:
        return error
    raise AssertionError


def test_the_place_is_the_innermost_frame_of_the_users_own_code() -> None:
    def decode() -> None:
        json.loads("{")

    with pytest.raises(ValueError) as raised:
        decode()
    described = describe(raised.value)
    assert described["location"].endswith("in decode")
    assert "test_failure.py:" in described["location"]


def test_the_fingerprint_is_of_the_cause_not_of_the_numbers() -> None:
    first, second, other = (describe(caught(text)) for text in ("lost 3 of 5", "lost 4 of 5", "found 3 of 5"))
    assert first["fingerprint"] == second["fingerprint"] != other["fingerprint"]
    assert len(first["fingerprint"]) == 12


def test_the_excerpt_is_the_end_of_the_traceback() -> None:
    assert describe(caught("the end"))["excerpt"].endswith("OwnError: the end")
