"""Failures for the corpus: runs the programs of tests/corpus/gpu.yaml or fresh.yaml, keeps what they wrote.

`python -m tools.provoke run --out results.jsonl` needs an NVIDIA GPU that nobody else uses, and Python with torch,
CuPy, JAX, Numba, Lightning, Transformers and the trainer's packages; about three minutes. `--set fresh` runs the
programs of the other file: with `--no-gpu` those that need none (root, for file systems of their own), with `--gpu` the
others. `python -m tools.provoke keep results.jsonl` makes entries of the corpus of them, anywhere. What a program needs
and is not there makes a failure of another kind: look at each before it is kept.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus"
SETS = {"gpu": "provoked_gpu", "fresh": "provoked_fresh", "later": "provoked_later"}
"""Files of programs, and the folder of what they wrote. Those of `gpu` all need one, those of `fresh` that say so."""
ENTRIES = CORPUS / SETS["gpu"]
SECONDS = 60
"""How long a program may take; those that compile or wait say so themselves."""
LONGEST = 12 * 1024
"""Characters of a log that are kept, its end."""
AT_ONCE = 6
SOURCES = {True: "provoked here: on a GPU, ", False: "provoked here: "}
"""By whether it needs a GPU."""

_HOLDER = """
import sys, time, torch
torch.zeros(1, device="cuda")
free, _ = torch.cuda.mem_get_info()
kept = torch.empty(free - (int(sys.argv[1]) << 20), dtype=torch.uint8, device="cuda")
print("held", flush=True)
time.sleep(600)
"""


def programs(name: str = "gpu") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((CORPUS / f"{name}.yaml").read_text())
    return [{"gpu": name == "gpu", **program} for program in found]


def source_of(program: Mapping[str, Any]) -> str:
    return f"{SOURCES[program.get('gpu', True)]}{program['name']}"


# --- running them -----------------------------------------------------------------------------------------------------


def run_all(programs: Sequence[dict[str, Any]], out: Path, *, at_once: int = AT_ONCE) -> None:
    """Side by side those that do not mind, those that take most of their time first; then those that fill the GPU; then
    those that may take the machine along."""
    writing = threading.Lock()
    with out.open("w") as file, tempfile.TemporaryDirectory(prefix="provoke-") as scratch:
        print(json.dumps({"renamed": renamed(Path(scratch))}), file=file, flush=True)

        def one(program: dict[str, Any]) -> None:
            try:
                result = run_one(program, Path(scratch))
            except OSError as error:
                result = {"name": program["name"], "exit_code": None, "seconds": 0, "log": str(error)}
            with writing:
                print(json.dumps(result), file=file, flush=True)
                print(f"{result['seconds']:6.1f} s  {result['exit_code']!s:>5}  {result['name']}", flush=True)

        beside = [program for program in programs if not _is_alone(program)]
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, sorted(beside, key=lambda program: -program.get("seconds", 0))))
        for program in sorted(filter(_is_alone, programs), key=lambda program: program.get("late", False)):
            one(program)


def _is_alone(program: Mapping[str, Any]) -> bool:
    return bool(program.get("alone") or program.get("late"))


def run_one(program: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """One program in a folder of its own: exit code (None: stopped at its limit), log, termination message."""
    folder = scratch / re.sub(r"\W+", "-", program["name"])
    folder.mkdir()
    (folder / "train.py").write_text(program.get("program", ""))
    config = {
        "version": 1,
        "params": program.get("params", {}),
        "output": str(folder / "output"),
        "attempt": 1,
        "seed": 0,
    }
    config["objective"] = {"metric": "val/dice_case", "direction": "Maximize"}
    (folder / "experiment.json").write_text(json.dumps(config))
    termination = folder / "termination-log"
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([*map(str, _sources()), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep),
        "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "CUPY_CACHE_DIR": str(folder / "cupy"),
        "ORKHAVEN_CONFIG": str(folder / "experiment.json"),
        "ORKHAVEN_TERMINATION_LOG": str(termination),
        **{name: os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ},
        **(_with_stub(folder) if program.get("stub") else {}),
        **program.get("environ", {}),
    }
    if not environ["LD_LIBRARY_PATH"]:
        del environ["LD_LIBRARY_PATH"]
    start = time.monotonic()
    with _held(program.get("free_mib")):
        code, log = _run(_command(program), folder, environ, seconds=program.get("seconds", SECONDS))
    return {
        "name": program["name"],
        "exit_code": code,
        "seconds": round(time.monotonic() - start, 1),
        "folder": str(folder),
        "log": log,
        "termination": termination.read_text(errors="replace") if termination.exists() else "",
    }


def _command(program: Mapping[str, Any]) -> list[str]:
    plain = ["python", "-m", "ctseg", "train"] if "params" in program else ["python", "train.py"]
    return [sys.executable if word == "python" else word for word in program.get("command", plain)]


def _run(command: list[str], folder: Path, environ: Mapping[str, str], *, seconds: float) -> tuple[int | None, str]:
    """As a container would end: by a signal it is 128 and its number."""
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = log.read_bytes().decode(errors="replace")
    return (128 - code if code is not None and code < 0 else code), text[-64 * 1024 :]


@contextmanager
def _held(free_mib: int | None) -> Iterator[None]:
    """Another process that leaves only so much of the GPU's memory."""
    if free_mib is None:
        yield
        return
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(free_mib)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "held":
            raise OSError("the process that holds the GPU's memory could not take it")
        yield
    finally:
        holder.kill()
        holder.wait()


def _with_stub(folder: Path) -> dict[str, str]:
    """CUDA's library to link with, in the place of the driver's."""
    found = sorted(glob.glob("/usr/local/cuda*/**/stubs/libcuda.so", recursive=True))
    if not found:
        return {}
    (folder / "stubs").mkdir()
    (folder / "stubs" / "libcuda.so.1").symlink_to(found[0])
    return {"LD_LIBRARY_PATH": str(folder / "stubs")}


def _sources() -> list[Path]:
    return [ROOT / "trainer"]


def renamed(scratch: Path) -> list[tuple[str, str]]:
    """What of this machine's folders and names becomes what, in this order; `scratch` has the programs' folders."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = f"/opt/venv/lib/{version}/site-packages"
    added = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return [
        (rf"{re.escape(str(scratch))}/[\w-]+", "/app"),
        (re.escape(str(ROOT / "trainer")), "/opt/orkhaven/site"),
        *((re.escape(str(one)), packages) for one in added if one.is_absolute() and not one.is_relative_to(ROOT)),
        (re.escape(sysconfig.get_path("purelib")), packages),
        (re.escape(os.path.realpath(sys.prefix)), "/opt/venv"),
        (re.escape(sys.prefix), "/opt/venv"),
        (re.escape(sysconfig.get_path("stdlib")), f"/usr/local/lib/{version}"),
        (rf"\b{re.escape(socket.gethostname())}\b", "trainer-0"),
    ]


# --- keeping them -----------------------------------------------------------------------------------------------------


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The results of a machine, without its names."""
    about, *results = (json.loads(line) for line in path.read_text().splitlines())
    for result in results:
        yield {**result, **{key: _renamed(result.get(key, ""), about["renamed"]) for key in ("log", "termination")}}


def keep(results: Iterable[Mapping[str, Any]], programs: Sequence[Mapping[str, Any]], folder: Path = ENTRIES) -> int:
    """Entries of those that failed, in files by their causes; of several results of a program the last counts. Returns
    how many."""
    found = {one["name"]: one for one in results if one["exit_code"]}
    entries: dict[str, list[dict[str, Any]]] = {}
    for program in programs:
        if (result := found.get(program["name"])) is not None:
            entries.setdefault(program["label"], []).append(entry_of(program, result))
    folder.mkdir(exist_ok=True)
    for label, listed in sorted(entries.items()):
        text = yaml.dump(listed, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=200)
        (folder / f"{label}.yaml").write_text(text)
    return sum(map(len, entries.values()))


def entry_of(program: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """As tools.corpus reads it: the record of a run that left one, else the end of its log."""
    entry: dict[str, Any] = {
        "source": source_of(program),
        "label": program["label"],
        "bug": program.get("bug", program["name"]),
        "held_out": True,
        "exit_code": result["exit_code"],
    }
    if result["termination"]:
        return {**entry, "record": result["termination"]}
    text = "\n".join(line.rstrip() for line in result["log"].rstrip().split("\n"))
    if len(text) > LONGEST:
        text = text[-LONGEST:].partition("\n")[2]
    return {**entry, "text": text}


def _renamed(text: str, renamings: Sequence[Sequence[str]]) -> str:
    for pattern, name in renamings:
        text = re.sub(pattern, name, text)
    return text


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are read."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _string)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    parser.add_argument("--set", choices=SETS, default="gpu", help="which file of programs")
    running = commands.add_parser("run", help="on a machine with an NVIDIA GPU")
    running.add_argument(
        "--gpu", action=argparse.BooleanOptionalAction, help="only those that need one, or none of them"
    )
    running.add_argument("--at-once", type=int, default=AT_ONCE)
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--only", default="", help="programs whose name has this regular expression")
    running.add_argument("--alone", action=argparse.BooleanOptionalAction, help="only those that fill the GPU, or none")
    keeping = commands.add_parser("keep", help="into tests/corpus")
    keeping.add_argument("results", type=Path, nargs="+")
    options = parser.parse_args()
    if options.command == "run":
        wanted = [one for one in programs(options.set) if re.search(options.only, one["name"])]
        wanted = [one for one in wanted if options.gpu in (None, one["gpu"])]
        wanted = [one for one in wanted if options.alone in (None, _is_alone(one))]
        run_all(wanted, options.out, at_once=options.at_once)
        return 0
    results = [result for path in options.results for result in read(path)]
    folder = CORPUS / SETS[options.set]
    print(f"{keep(results, programs(options.set), folder)} entries in {folder.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
