"""Canonical JSON by the vectors of RFC 8785, and what hashes and names owe each other."""

from __future__ import annotations

import hashlib
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkhaven.api.container import DataVolume
from orkhaven.core.identity import canonical_json, child_name, param_hash, run_hash

# RFC 8785, appendix B: IEEE 754 bits and the text that ECMAScript gives them.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items(), ids=NUMBERS.values())
def test_numbers_are_written_as_the_rfc_has_them(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(value).decode() == text


def test_the_example_of_the_rfc() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals": [None, True, False],
    }
    assert canonical_json(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_utf_16_not_by_code_point() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    assert list(json.loads(canonical_json(dict.fromkeys(keys, 0)))) == [
        "\r",
        "1",
        "\u0080",
        "\u00f6",
        "\u20ac",
        "\U0001f600",
        "\ufb33",
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {1: 2}, {1, 2}, b"x"], ids=repr)
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical_json({"a": value})


@given(JSON)
def test_it_reads_back_as_the_same_value(value: object) -> None:
    try:
        text = canonical_json(value)
    except ValueError:
        assert "\\ud" in json.dumps(value)  # a lone surrogate
        return
    # ECMAScript writes large doubles with zeros for the digits that do not matter.
    assert json.loads(text, parse_int=float) == value
    assert canonical_json(json.loads(text, parse_int=float)) == text


@given(st.integers())
def test_no_two_integers_are_one(value: int) -> None:
    assert canonical_json(value) != canonical_json(value + 1)


def test_one_is_one_point_zero_and_not_a_text() -> None:
    assert param_hash({"a": 1}) == param_hash({"a": 1.0})
    assert param_hash({"a": 1}) != param_hash({"a": "1"})
    assert param_hash({"a": 1}) != param_hash({"a": True})
    assert param_hash({"a": None}) != param_hash({})
    assert param_hash({"a": 1, "b": 2}) == param_hash({"b": 2, "a": 1})


def test_another_seed_image_command_or_claim_is_another_run() -> None:
    volume = DataVolume(name="ct", claim="ct-data")
    base = {"params": {"a": 1}, "seed": 0, "image": "i", "command": ["c"], "data": [volume]}
    others = [
        {"seed": 1},
        {"image": "j"},
        {"command": []},
        {"data": [DataVolume(name="ct", claim="other")]},
        {"params": {"a": 2}},
    ]
    hashes = {run_hash(**{**base, **change}) for change in [{}, *others]}  # type: ignore[arg-type]
    assert len(hashes) == len(others) + 1


def test_a_taken_name_gives_way_to_the_next_digits() -> None:
    first = child_name("s", params={"a": 1}, seed=0)
    assert first == child_name("s", params={"a": 1.0}, seed=0)
    second = child_name("s", params={"a": 1}, seed=0, taken={first})
    assert second != first
    assert len(second) == len(first) == len("s-") + 10
    assert first != child_name("s", params={"a": 1}, seed=1)


# The text that is hashed, by hand, and its SHA-256 (`printf '%s' TEXT | sha256sum`): were one of them another in a
# later version, every folder would be another, and nothing that was run would be found again.
GOLDEN = {
    "nothing": ({}, "{}", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
    "one": ({"a": 1}, '{"a":1}', "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
    "one, as a double": ({"a": 1.0}, '{"a":1}', "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
    "one, as a text": ({"a": "1"}, '{"a":"1"}', None),
    "small and large": ({"lr": 1e-7, "n": 1e21, "m": 1e20}, '{"lr":1e-7,"m":100000000000000000000,"n":1e+21}', None),
    "minus zero": ({"a": -0.0}, '{"a":0}', None),
    "beyond doubles": ({"a": 2**53 + 1}, '{"a":9007199254740993}', None),
    "nested": (
        {"model": {"name": "unet", "depth": [3, 4.0, 6.5]}, "amp": True, "init": None},
        '{"amp":true,"init":null,"model":{"depth":[3,4,6.5],"name":"unet"}}',
        None,
    ),
    "unicode": ({"größe": "µm ☃ 😀", "a": "\u007f\u2028"}, '{"a":"\u007f\u2028","größe":"µm ☃ 😀"}', None),
    "keys by UTF-16": ({"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}', None),
    "as typed, not normalised": ({"a": "e\u0301"}, '{"a":"e\u0301"}', None),
    "controls": ({"a": "\b\t\n\f\r\x00\x1f\"\\"}, '{"a":"\\b\\t\\n\\f\\r\\u0000\\u001f\\"\\\\"}', None),
}  # fmt: skip


@pytest.mark.parametrize(("params", "text", "digest"), GOLDEN.values(), ids=GOLDEN.keys())
def test_the_parameters_hash_is_that_of_this_text(params: dict[str, object], text: str, digest: str | None) -> None:
    assert canonical_json(params).decode() == text
    assert param_hash(params) == hashlib.sha256(text.encode()).hexdigest()
    assert digest in (None, param_hash(params))


def test_the_runs_hash_is_that_of_this_text() -> None:
    text = (
        '{"command":["python","-m","ctseg"],"data":[{"claim":"ct-data","mountPath":"/data/ct","name":"ct","subPath":"2024"}],'
        '"image":"trainer:1","params":{"lr":0.001},"seed":7}'
    )
    made = run_hash(
        params={"lr": 1e-3},
        seed=7,
        image="trainer:1",
        command=["python", "-m", "ctseg"],
        data=[DataVolume(name="ct", claim="ct-data", sub_path="2024", mount_path="/data/ct", read_only=False)],
    )
    assert made == hashlib.sha256(text.encode()).hexdigest()
    assert made == "a2b08e1e45cb1aba28aed15e58230d93cf248fd708fffb688ff4ec9bbb05fbe3"


def test_two_that_look_alike_in_unicode_are_two() -> None:
    assert param_hash({"a": "\u00e9"}) != param_hash({"a": "e\u0301"})
