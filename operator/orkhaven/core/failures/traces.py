"""What exceptions a text tells of: tracebacks with their chains, ranks and re-raises, C++ and interpreter crashes.

Owns the tolerant reading of logs: cut at either end, several processes at once, other output in between. Says nothing
of causes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

LONGEST_TEXT = 16 * 1024
"""Characters from the end that are read: room for several ranks with chains of their own."""
LONGEST_LOG = 64 * 1024
"""The same where these tell of nothing: twenty ranks that complain at length have pushed it up."""
_MESSAGE_LINES = 8
_LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """One exception as its traceback tells it."""

    kind: str
    """Its type as written: torch.OutOfMemoryError."""
    message: str = ""
    frames: tuple[str, ...] = ()
    """Functions of the project itself that were being called, outermost first: "training/loop.py train_step"."""
    inside: str = ""
    """The innermost frame of all, libraries included."""
    code: str = ""
    """Its line of source, where the text has it."""

    @property
    def statement(self) -> str:
        """As Python writes it: type, colon, message."""
        return f"{self.kind}: {self.message}" if self.message else self.kind


Chain = tuple[Raised, ...]
"""What led to one another, the root cause first."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Who writes a line, where several do: torchrun ([rank3]:, [default3]:), Ray ((train pid=12, ip=...)), Slurm (3: ).
_WRITER = re.compile(
    r"^(?:\[?(?:rank|default)\s?(\d+)\]?:\s?|\((?:\w+ )?pid=(\d+)[^)]*\)\s?|(\d{1,4}): (?=\s|Trace|\w+Error))"
)
_WRITER_BEGINS = frozenset("[(rd")
"""Or a digit."""
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)? (?:std(?:out|err) [FP] )?")
_HEADER = re.compile(r"(?P<original>Original )?Traceback \(most recent call last\)[:(]?\s*$")
_FRAME = re.compile(r'^(?P<indent>\s*(?:\|\s+)?)File "(?P<path>[^"]+)", line \d+(?:, in | in )?(?P<name>.*)$')
_TYPE = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*)(?:: ?(?P<message>.*))?$")
# Without a traceback around it only what is called an error is one.
_BARE = re.compile(
    r"^(?:[EF]\s+|E?RROR:? ?|>\s*)?(?P<kind>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt"
    r"|Diverged))(?:: ?(?P<message>.*))?$"
)
# Most lines of a log are none of it, and are not looked at twice; a text that has none of these words not even once.
_TELLING_WORDS = (
    "Traceback", 'File "', "Error", "Exception", "Interrupt", "Diverged", "terminate", "what()", "Fatal", "During",
    "The above",
)  # fmt: skip
_TELLING = re.compile("|".join(map(re.escape, _TELLING_WORDS)))
_CHAINED = re.compile(r"^(During handling of the above exception|The above exception was the direct cause)")
_THROWN = re.compile(r"terminate called after throwing an instance of '([^']+)'")
_WHAT = re.compile(r"^\s*what\(\):\s*(.*)$")
_FATAL = re.compile(r"^Fatal Python error: (.*)$")
_OTHER_OUTPUT = re.compile(
    r"^\[?\d{4}-\d\d-\d\d|^(?:ERROR|WARNING|INFO|DEBUG|CRITICAL)\b|^[EWI]\d{4} |^\[[EWI]|^srun:|^wandb:"
    r"|^[-=*#]{4,}|^Setting |^Exception raised from"
)
"""Lines that are no part of a message any more."""
_LIBRARY = re.compile(
    r"(?:^|/)(?:site|dist)-packages/|/lib(?:64)?/python\d|^<|/torch/csrc/|\.(?:cpp|cc|cu|h)$"
    r"|/python\d\.\d+/\w+\.py$"
)

_WRAPPERS = frozenset(
    {"ChildFailedError", "ProcessRaisedException", "ProcessExitedException", "RemoteTraceback", "_RemoteTraceback",
     "RayTaskError", "CalledProcessError", "BrokenProcessPool", "TerminatedWorkerError", "ExceptionGroup"}
)  # fmt: skip
"""Exceptions that only say that another process had one."""
_REPEATED = re.compile(
    r"^Caught \w+ in (?:DataLoader worker|replica|pin memory thread)"
    r"|^(?:One or more|Some) background workers are no longer alive"
)
"""Messages that say the same, of PyTorch's loaders and batchgenerators'."""
_AFTERMATH = re.compile(
    r"DistBackendError|ncclRemoteError|Connection closed by (?:remote )?peer|Broken ?[Pp]ipe"
    r"|Connection reset by peer"
)
"""What the other ranks say once one has died."""


_ROOTS = frozenset(
    {"app", "src", "code", "work", "workspace", "workdir", "repo", "project", "home", "root", "opt", "mnt", "tmp"}
)
"""Folders that a project lies in, which may be another in the next image."""


def _short(path: str) -> str:
    """The file with its folder: models/unet.py; without it where that is only where the project lies."""
    *_, folder, file = ["", *re.split(r"[/\\]", path)]
    return file if not folder or folder in _ROOTS else f"{folder}/{file}"


@dataclass(slots=True)
class _Block:
    """A traceback under construction."""

    at: int
    chained: bool = False
    original: bool = False
    kind: str = ""
    message: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    inside: str = ""
    code: str = ""
    open: bool = True
    """Whether its message may go on."""

    def say(self, line: str) -> None:
        """A line after the one that names the exception."""
        if not line.strip(" |") or _OTHER_OUTPUT.match(line) or len(self.message) >= _MESSAGE_LINES:
            self.open = False
        else:
            self.message.append(line.strip())

    def call(self, path: str, name: str, *, first: bool = False) -> None:
        """A frame; `first`: the stack is told from its innermost call."""
        frame = f"{_short(path)} {name}"
        if not first or not self.inside:
            self.inside, self.code = frame, ""
        if not _LIBRARY.search(path):
            self.frames.insert(0 if first else len(self.frames), frame)

    def raised(self) -> Raised:
        return Raised(
            kind=self.kind,
            message="\n".join(self.message).strip(),
            frames=tuple(self.frames),
            inside=self.inside,
            code=self.code,
        )


def is_wrapper(raised: Raised) -> bool:
    """Whether it only says that something else failed."""
    return raised.kind.rpartition(".")[2] in _WRAPPERS or _REPEATED.match(raised.message) is not None


@lru_cache(maxsize=128)
def fatal(text: str) -> Chain:
    """The exceptions that ended the program, the root cause first; empty where the text tells of none.

    Of several ranks that of the first which did not die of another's death.
    """
    found = _ended_by(text[-LONGEST_TEXT:])
    if len(text) > LONGEST_TEXT and (not found or all(map(is_wrapper, found)) or _of_another(found)):
        found = _ended_by(text[-LONGEST_LOG:]) or found
    return found


def _of_another(chain: Chain) -> bool:
    return _AFTERMATH.search(chain[-1].statement) is not None


def _ended_by(text: str) -> Chain:
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if not any(word in text for word in _TELLING_WORDS):
        return ()
    found = sorted(_chains(text), key=lambda chain: chain[0])
    chains = [chain for _, _, chain in found]
    own = [chain for chain in chains if not all(map(is_wrapper, chain))] or chains
    # The last one of each writer is what ended it; tracebacks before that were only logged.
    last = {writer: (at, chain) for at, writer, chain in found if chain in own}
    ends = [chain for _, chain in sorted(last.values(), key=lambda one: one[0])]
    first_hand = [chain for chain in ends if not _of_another(chain)]
    chosen = next(iter(first_hand or ends), ())
    return tuple(one for one in chosen if not is_wrapper(one)) or chosen


def _chains(text: str) -> Iterator[tuple[int, str, Chain]]:
    """(line, writer, chain) of each."""
    for writer, lines in _by_writer(text).items():
        blocks = list(_blocks(lines))
        chain: list[_Block] = []
        for block in blocks:
            # A worker's traceback inside the message of the exception that brings it: the inner one is what happened.
            joins = chain and (block.chained or block.original)
            if chain and not joins:
                yield chain[-1].at, writer, tuple(one.raised() for one in chain)
                chain = []
            if block.original and chain:
                chain[-1] = block
            else:
                chain.append(block)
        if chain:
            yield chain[-1].at, writer, tuple(one.raised() for one in chain)


def _by_writer(text: str) -> dict[str, list[tuple[int, str]]]:
    """(number, line) by who wrote them."""
    writers: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(text.splitlines()):
        line = line[:_LONGEST_LINE]
        # What a line begins with rules most of them out, at a tenth of what the expressions cost.
        if line[:1].isdigit():
            line = _STAMP.sub("", line)
        found = _WRITER.match(line) if line[:1].isdigit() or line[:1] in _WRITER_BEGINS else None
        writer = next((group for group in found.groups() if group), "") if found else ""
        writers.setdefault(writer, []).append((number, line[found.end() :] if found else line))
    return writers


def _blocks(lines: Iterable[tuple[int, str]]) -> Iterator[_Block]:
    """The exceptions that the lines of one process tell of, in their order."""
    block: _Block | None = None
    crash: _Block | None = None
    bare: _Block | None = None
    chained = told = False
    for number, line in lines:
        if (block is None or not block.open) and (bare is None or not bare.open) and _TELLING.search(line) is None:
            continue
        # A word first, which costs next to nothing: where every line tells of an error, every line comes by here.
        if "Traceback" in line and (header := _HEADER.search(line)) is not None:
            if block is not None and block.kind:
                yield block
                told = True
            block = _Block(number, chained, header["original"] is not None)
            chained = False
        elif _CHAINED.match(line.strip(" |")):
            near = bare is not None and number - bare.at <= _MESSAGE_LINES + 1
            if bare is not None and near and (block is None or bare.at > block.at):
                # It was raised without a traceback; what followed from it may have one.
                if block is not None and block.kind:
                    yield block
                    told = True
                bare.chained = chained
                block, bare = bare, None
            chained = True
        elif line.startswith("Fatal") and (dead := _FATAL.match(line)) is not None:
            crash = _Block(number, kind="Fatal Python error", message=[dead[1]])
        elif 'File "' in line and (frame := _FRAME.match(line)) is not None:
            if crash is not None:
                crash.call(frame["path"], frame["name"].strip(), first=True)
                continue
            if block is None or block.kind:
                # Its beginning was cut off.
                if block is not None:
                    yield block
                    told = True
                block = _Block(number, chained)
                chained = False
            block.call(frame["path"], frame["name"].strip())
        elif block is not None and not block.kind:
            _end_of_frames(block, line)
        elif block is not None and block.open:
            block.say(line)
        elif (found := _bare(number, line, bare)) is not None:
            bare = found
    if block is not None and block.kind:
        yield block
        told = True
    if crash is not None:
        yield crash
    elif bare is not None and not told:
        yield bare


def _end_of_frames(block: _Block, line: str) -> None:
    """The line that names the exception stands where "Traceback" stood; code and carets stand further right."""
    bare = line.lstrip("| ") if line.startswith("  |") else line
    found = _TYPE.match(bare) if bare and not bare[0].isspace() else None
    if found is not None:
        block.kind, block.message = found["kind"], [found["message"] or ""]
    elif bare[:1].isspace():  # code; the carets below it are not
        block.code = block.code or bare.strip()


def _bare(number: int, line: str, before: _Block | None) -> _Block | None:
    """An exception without a traceback."""
    if "terminate" in line and (thrown := _THROWN.search(line)) is not None:
        return _Block(number, kind=thrown[1])
    if before is not None and not before.message and (what := _WHAT.match(line)) is not None:
        before.message = [what[1]]
        return before
    found = _BARE.match(line.strip())
    if found is not None and found["message"] is not None:
        return _Block(number, kind=found["kind"], message=[found["message"]])
    if before is not None and before.open:
        before.say(line)
    return None
