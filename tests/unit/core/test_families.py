"""Sentences that no rule knows word for word: what they are about, and where they were raised."""

from __future__ import annotations

import pytest

from orkhaven.core.failures import Evidence, classify, suggestion
from orkhaven.core.failures.traces import fatal

LIBRARY = "/opt/venv/lib/python3.12/site-packages"


def raised(statement: str, *, place: str = "/app/train.py", function: str = "main") -> Evidence:
    frames = '  File "/app/train.py", line 9, in <module>\n    main()\n'
    inner = f'  File "{place}", line 2, in {function}\n    x\n'
    return Evidence(exit_code=1, text=f"Traceback (most recent call last):\n{frames}{inner}{statement}")


SENTENCES = {
    "RuntimeError: batch of 64 does not fit on this GPU": "CudaOutOfMemory",
    "AssertionError: this experiment needs 8 GPUs": "GpuSetup",
    "RuntimeError: training on the CPU is not supported": "GpuSetup",
    "ValueError: the checkpoint was saved by another architecture": "CheckpointError",
    "KeyError: 'ema_state_dict'": "CheckpointError",
    "RuntimeError: encoder gradients exploded at epoch 4: inf": "Diverged",
    "mylib.NonFiniteLossError: step 12": "Diverged",
    "ValueError: prediction and mask must have identical spatial size": "ShapeMismatch",
    "TypeError: dot requires arrays of the same length, got 3 and 4": "ShapeMismatch",
    "mylib.CorruptVolume: case 3": "DataError",
    "RuntimeError: 12 images without annotations": "DataError",
    "cv2.error: (-215:Assertion failed) !ssize.empty() in function 'resize'": "DataError",
    "RuntimeError: PACS_API_URL must be set": "ConfigError",
    "mylib.TrackerError: the access token for the tracker was rejected": "ConfigError",
    "mylib.TrackerError: api key for the tracker is invalid": "ConfigError",
    "mylib.UnknownOptionError: nesterov": "InvalidParams",
    "ValueError: unknown optimizer 'adma'": "InvalidParams",
    "ValueError: 'bilnear' is not supported, choose one of nearest, bilinear": "InvalidParams",
    "ValueError: alpha should be between 0 and 1, but got 3": "InvalidParams",
    # About one of these things, but of the program's own.
    "AttributeError: 'Trainer' object has no attribute 'checkpoint', missing": "UserException",
    "TypeError: an unsupported model, choose one of": "UserException",
    "ValueError: the 'C' must be in [1, inf), see norm": "UserException",
    "RuntimeError: Expected all tensors to be on the same device, but found two, cuda:0 and cpu!": "UserException",
    "ValueError: optimizer got an empty parameter list": "UserException",
    "OSError: [Errno 22] Invalid argument": "UserException",
}


@pytest.mark.parametrize(("statement", "reason"), SENTENCES.items(), ids=SENTENCES)
def test_a_sentence_belongs_to_a_family(statement: str, reason: str) -> None:
    assert classify(raised(statement)).reason == reason


PLACES = {
    "a library's constructor": ("ValueError: bad luck", f"{LIBRARY}/lib/blur.py", "__init__", "InvalidParams"),
    "the project's own": ("ValueError: bad luck", "/app/data.py", "__init__", "UserException"),
    "another type": ("RuntimeError: bad luck", f"{LIBRARY}/lib/blur.py", "__init__", "UserException"),
    "a state": (
        "KeyError: 'param_groups'",
        f"{LIBRARY}/torch/optim/optimizer.py",
        "load_state_dict",
        "CheckpointError",
    ),
    "an enumeration": ("KeyError: 'V7'", "/usr/local/lib/python3.12/enum.py", "__getitem__", "InvalidParams"),
    "the environment": ("KeyError: 'DATA_ROOT'", "<frozen os>", "__getitem__", "ConfigError"),
}


@pytest.mark.parametrize(("statement", "place", "function", "reason"), PLACES.values(), ids=PLACES)
def test_the_place_counts_where_the_words_say_nothing(statement: str, place: str, function: str, reason: str) -> None:
    assert classify(raised(statement, place=place, function=function)).reason == reason


def test_without_an_exception_the_last_words_count_and_not_the_log() -> None:
    assert classify(Evidence(exit_code=1, text="epoch 1\nerror: needs 4 GPUs, found 1")).reason == "GpuSetup"
    assert (
        classify(Evidence(exit_code=1, text="no GPU, best loss so far inf\nepoch 1\nepoch 2")).reason == "UserException"
    )


def test_the_root_of_a_chain_may_have_no_traceback() -> None:
    direct = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    text = direct.join(
        ("httpcore.ConnectError: [Errno 111] Connection refused", "httpx.ConnectError: [Errno 111] Connection refused",
         raised("hub.EntryNotFoundError: cannot find the file in the cache").text)
    )  # fmt: skip
    assert [one.kind for one in fatal(text)] == [
        "httpcore.ConnectError",
        "httpx.ConnectError",
        "hub.EntryNotFoundError",
    ]
    assert classify(Evidence(exit_code=1, text=text)).reason == "Infrastructure"


def test_an_error_in_the_log_before_a_chain_is_no_part_of_it() -> None:
    chain = f"{raised('KeyError: 1').text}\n\nDuring handling of the above exception, another exception occurred:\n\n"
    text = f"ValueError: only logged\n{chain}{raised('RuntimeError: odd').text}"
    assert [one.kind for one in fatal(text)] == ["KeyError", "RuntimeError"]


def test_a_variable_that_is_missing_is_named() -> None:
    e = raised("RuntimeError: PACS_API_URL must be set")
    found = classify(e)
    assert "PACS_API_URL" in suggestion(found.reason, found.message, e)
