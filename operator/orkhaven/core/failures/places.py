"""What a library was doing when it raised: the place tells where the words say nothing.

Owns the reading of the innermost frame, and of the innermost function of the project where a file is concerned.
"""

from __future__ import annotations

import re

from orkhaven.api import Reason
from orkhaven.core.failures.cause import Diagnosis
from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.needles import words
from orkhaven.core.failures.traces import Raised
from orkhaven.core.failures.words import LONGEST_TEXT, said, sentence

_OF_STATE = re.compile(
    r"(?:load|from|restore|set)_(?:model_|optimizer_)?state(?:_dict)?$|load_checkpoint|restore_checkpoint"
)
_OF_THE_PROGRAM = ("empty parameter list", "more than one parameter group", "non-leaf Tensor")
"""What constructors of optimizers say of what no parameter of a run makes."""
_MAKING = frozenset({"__init__", "__post_init__", "__new__"})
"""What makes an object of its arguments."""

_REGISTRY = re.compile(
    r"(?<![a-z])(?:registry|factory|builder)\.py "
    r"|(?:^| )(?:get|create|build|make)_(?:\w+_)?(?:model|encoder|decoder|backbone|network|architecture|optimizer"
    r"|scheduler|activation|norm|weights)$"
)
"""What looks a thing up by the name that a parameter has."""

_OF_A_CHECKPOINT = re.compile(
    r"load_state_dict\(|(?<![A-Za-z])(?:checkpoint|ckpt|state_dict|pretrained(?:_\w+)?|snapshot)\["
)
"""Code that takes a part of a stored state."""

_THERE = r"^(?=.*\b(?:exists|isfile|isdir|is_file|is_dir)\()"
_ASSERTED: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (Reason.GPU_SETUP, re.compile(r"cuda\.is_available\(|device_count\(\)")),
    (Reason.DIVERGED, re.compile(r"\b(?:isnan|isfinite|isinf)\(")),
    (Reason.CHECKPOINT_ERROR, re.compile(rf"{_THERE}.*(?:checkpoint|ckpt|resume|weights|pretrained)")),
    (Reason.CONFIG_ERROR, re.compile(rf"{_THERE}.*(?<![a-z])(?:config|cfg|ya?ml)(?:_file|_path)?(?![a-z.\[])")),
    (Reason.DATA_ERROR, re.compile(rf"{_THERE}.*(?:data|image|img|mask|label|annotation|dicom|scan|volume)")),
    (Reason.DATA_ERROR, re.compile(r"\b\w*box(?:es)?\[.*[<>]=?.*\w*box(?:es)?\[")),
    (Reason.SHAPE_MISMATCH, re.compile(r"(?:\.shape\b|\.size\(|\.ndim\b|\.dim\(\)).*==|==.*(?:\.shape\b|\.size\()")),
)
"""What a check says by its source alone, where nobody has given it a sentence."""

_OF_FILES = frozenset({"FileNotFoundError", "IsADirectoryError", "NotADirectoryError", "UnicodeDecodeError"})
"""A file that is not there, or no such file: whose, says what was reading."""
_OF_WEIGHTS = re.compile(r"(?<![a-z])(?:serialization|unpickler|checkpoints?|weights|state_dict|safetensors)(?![a-z])")
_OF_CONFIG = re.compile(
    r"(?<![a-z])(?:conf|configs?|configuration|configparser|cfg|settings|ya?ml|toml|hydra)(?![a-z])"
)
_OF_DATA = re.compile(
    r"(?<![a-z])(?:data|datasets?|dataloaders?|datamodules?|loader|readers?|getitem|imread|images?|masks?|labels?"
    r"|annotations?|volumes?|samples?|dicom|nifti|csv|parquet|parsers|tar|mmtar|tarfile|shards?)(?![a-z])"
)

_UNSET = words(r"\b\w+_\w+ (?:is|was) not (?:defined|set|in your environment)\b")
_SPEAKS_OF_DATA = re.compile(r"JSON parse error|DatasetGeneration|\bdata ?set\b", re.IGNORECASE)


def tells_of_data(raised: Raised) -> bool:
    """Whether an exception says by its words or its place that data was read."""
    return _SPEAKS_OF_DATA.search(raised.statement) is not None or _of_file(raised) == Reason.DATA_ERROR


def by_place(e: Evidence, kind: str, raised: Raised) -> Diagnosis | None:
    """The cause of an exception of type `kind` that was raised while a stored state, a file, a name or the arguments of
    an object were taken."""
    if kind == "TypeError":
        return _without_a_path(e, raised)
    if not raised.inside or any(map(raised.message.__contains__, _OF_THE_PROGRAM)):
        return None
    if kind == "AssertionError" and not raised.message and raised.code.startswith("assert "):
        reason = next((reason for reason, pattern in _ASSERTED if pattern.search(raised.code.lower())), None)
        return None if reason is None else Diagnosis(reason=reason, message=f"{raised.code} ({sentence(e)})")
    reason = _of_file(raised) if kind in _OF_FILES else _of_library(kind, raised)
    return None if reason is None else Diagnosis(reason=reason, message=sentence(e))


def _without_a_path(e: Evidence, raised: Raised) -> Diagnosis | None:
    """A path that is None, in a log that tells of a variable which nobody has set; nnU-Net goes on without it."""
    if "os.pathlike object, not nonetype" not in raised.message.lower():
        return None
    return said(e, e.text[-LONGEST_TEXT:], Reason.CONFIG_ERROR, _UNSET)


def _of_file(raised: Raised) -> Reason | None:
    """Also functions of the project: what reads a file mostly says in its name which."""
    for place in dict.fromkeys((raised.inside, *raised.frames[-1:])):
        for reason, pattern in (
            (Reason.CHECKPOINT_ERROR, _OF_WEIGHTS),
            (Reason.CONFIG_ERROR, _OF_CONFIG),
            (Reason.DATA_ERROR, _OF_DATA),
        ):
            if pattern.search(place.lower()):
                return reason
    return None


def _of_library(kind: str, raised: Raised) -> Reason | None:
    """Not of functions of the project, which have any name; but what they take out of a checkpoint is not in it."""
    if kind == "KeyError" and _OF_A_CHECKPOINT.search(raised.code):
        return Reason.CHECKPOINT_ERROR
    if raised.inside in raised.frames:
        return None
    file, _, function = raised.inside.rpartition(" ")
    if _OF_STATE.search(function):
        return Reason.CHECKPOINT_ERROR
    no_such_member = file.rpartition("/")[2] == "enum.py"
    if no_such_member or (kind == "ValueError" and function in _MAKING):
        return Reason.INVALID_PARAMS
    if kind == "KeyError" and _REGISTRY.search(raised.inside):
        return Reason.INVALID_PARAMS
    return None
