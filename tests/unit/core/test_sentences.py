"""What libraries say in words of their own, and what the place or the line of source says where words do not."""

from __future__ import annotations

import pytest

from orkhaven.core.failures import Evidence, classify
from orkhaven.core.failures.traces import fatal, is_wrapper
from tests.unit.core.sentences import PAIRS, Pair

LIBRARY = "/opt/venv/lib/python3.12/site-packages"
STD = "/usr/local/lib/python3.12"


def raised(statement: str, place: str = f"{LIBRARY}/lib/core.py", function: str = "run", own: str = "main") -> str:
    frames = (("/app/train.py", "<module>"), (f"/app/{own}.py", own), (place, function))
    calls = "".join(f'  File "{path}", line 3, in {name}\n    x\n' for path, name in frames)
    return f"Traceback (most recent call last):\n{calls}{statement}"


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_sentence_and_its_near_miss(pair: Pair) -> None:
    for text, fits in ((pair.fits, True), (pair.near, False)):
        said = raised(text) if fatal(text) else text
        assert (classify(Evidence(exit_code=1, text=said)).reason == pair.reason) is fits, text


DECODE = "UnicodeDecodeError: 'utf-8' codec can't decode byte 0x92 in position 2: invalid start byte"
NO_SPACE = "OSError: [Errno 28] No space left on device"
NO_JSON = "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
NO_FOLDER = "IsADirectoryError: [Errno 21] Is a directory: '/x'"
PLACES = {
    "a semaphore": (NO_SPACE, f"{STD}/multiprocessing/synchronize.py", "__init__", "main", "SharedMemory"),
    "a copy": (NO_SPACE, f"{STD}/shutil.py", "copyfile", "main", "DiskFull"),
    "an archive": (DECODE, f"{LIBRARY}/wids/wids_mmtar.py", "_build_index", "main", "DataError"),
    "a text of the project's": (DECODE, f"{STD}/codecs.py", "decode", "load_labels", "DataError"),
    "a checkpoint of Python 2": (
        DECODE,
        f"{LIBRARY}/torch/serialization.py",
        "_legacy_load",
        "main",
        "CheckpointError",
    ),
    "a text that ends early": (
        DECODE.replace("invalid start byte", "unexpected end of data"),
        f"{STD}/codecs.py",
        "decode",
        "load_config",
        "ConfigError",
    ),
    "a table": (DECODE, f"{LIBRARY}/pandas/_libs/parsers.pyx", "_string_box_utf8", "main", "DataError"),
    "an ini": (DECODE, f"{STD}/configparser.py", "_read", "main", "ConfigError"),
    "a text of nobody knows what": (DECODE, f"{STD}/codecs.py", "decode", "main", "UserException"),
    "a configuration": (NO_FOLDER, f"{LIBRARY}/yacs/config.py", "merge_from_file", "main", "ConfigError"),
    "a file of nobody knows what": (NO_FOLDER, f"{LIBRARY}/lib/core.py", "run", "main", "UserException"),
    "JSON of data": (NO_JSON, f"{STD}/json/decoder.py", "raw_decode", "load_annotations", "DataError"),
    "JSON of the settings": (NO_JSON, f"{STD}/json/decoder.py", "raw_decode", "load_config", "ConfigError"),
    "a registry": ("KeyError: 'vgg99'", f"{LIBRARY}/smp/encoders/__init__.py", "get_encoder", "main", "InvalidParams"),
    "a batch": ("KeyError: 'mask'", f"{LIBRARY}/lib/loss.py", "forward", "main", "UserException"),
}


@pytest.mark.parametrize(("statement", "place", "function", "own", "reason"), PLACES.values(), ids=PLACES)
def test_who_was_reading_counts(statement: str, place: str, function: str, own: str, reason: str) -> None:
    text = raised(statement, place, function, own)
    assert classify(Evidence(exit_code=1, text=text)).reason == reason


def test_json_of_data_is_told_by_what_followed() -> None:
    direct = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    chain = direct.join((raised(NO_JSON), raised("datasets.DatasetGenerationError: while generating the dataset")))
    assert classify(Evidence(exit_code=1, text=chain)).reason == "DataError"
    assert classify(Evidence(exit_code=1, text=raised(NO_JSON))).reason == "ConfigError"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("optimizer.load_state_dict(checkpoint['optimizer'])", "CheckpointError"),
        ("self.epoch = ckpt['optimizer']", "CheckpointError"),
        ("name = batch['optimizer']", "UserException"),
        ("checkpoints.append(batch['optimizer'])", "UserException"),
    ],
)
def test_what_a_checkpoint_lacks_is_told_by_the_line_that_takes_it(code: str, reason: str) -> None:
    text = f'Traceback (most recent call last):\n  File "/app/train.py", line 3, in main\n    {code}\n    ^^^^\n'
    assert classify(Evidence(exit_code=1, text=f"{text}KeyError: 'optimizer'")).reason == reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("assert torch.cuda.is_available()", "GpuSetup"),
        ("assert not torch.isnan(loss).any()", "Diverged"),
        ("assert os.path.exists(args.resume)", "CheckpointError"),
        ("assert os.path.isfile(args.config_file)", "ConfigError"),
        ("assert Path(cfg.data_root).is_dir()", "DataError"),
        ("assert os.path.isdir(cfg.data_root)", "DataError"),
        ("assert os.path.isdir(out)", "UserException"),
        ("assert (boxes[:, 2] >= boxes[:, 0]).all()", "DataError"),
        ("assert image.shape == mask.shape", "ShapeMismatch"),
        ("assert self.ready", "UserException"),
        ("assert step < self.total", "UserException"),
    ],
)
def test_a_check_without_a_sentence_is_told_by_its_source(code: str, reason: str) -> None:
    text = f'Traceback (most recent call last):\n  File "/app/train.py", line 3, in main\n    {code}\nAssertionError'
    found = classify(Evidence(exit_code=1, text=text))
    assert found.reason == reason
    assert reason == "UserException" or code in found.message
    spoken = classify(Evidence(exit_code=1, text=f"{text}: that is odd"))
    assert spoken.reason == "UserException", "a sentence counts more than the source"


def test_a_path_that_is_none_is_a_variable_that_nobody_has_set() -> None:
    failed = raised("TypeError: expected str, bytes or os.PathLike object, not NoneType")
    told = f"nnUNet_raw is not defined and nnU-Net cannot be used like this.\n{failed}"
    assert "nnUNet_raw" in classify(Evidence(exit_code=1, text=told)).message
    assert classify(Evidence(exit_code=1, text=told)).reason == "ConfigError"
    assert classify(Evidence(exit_code=1, text=failed)).reason == "UserException"


def test_workers_that_are_no_longer_alive_are_not_what_happened() -> None:
    end = raised("RuntimeError: One or more background workers are no longer alive. Exiting.")
    (only,) = fatal(end)
    assert is_wrapper(only)
    worker = raised("ImageFileError: cannot work out the file type of /d/7.nii")
    assert classify(Evidence(exit_code=1, text=f"{worker}\n\n{end}")).reason == "DataError"


def test_cudas_own_error_comes_before_the_systems_last() -> None:
    text = "CUDA Error: uncorrectable ECC error encountered: Cannot allocate memory"
    assert classify(Evidence(exit_code=134, text=text)).reason == "GpuHardware"


def test_a_container_that_the_driver_does_not_let_start() -> None:
    refused = "nvidia-container-cli: initialization error: driver rpc error: timed out: unknown"
    started = {"terminated_reason": "StartError", "exit_code": 128}
    assert classify(Evidence(text=refused, **started)).reason == "GpuHardware"
    assert classify(Evidence(text="exec: no such file", **started)).reason == "ConfigError"
