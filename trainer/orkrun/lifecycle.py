"""One run from its config to its final record. Owns `run()`, the only thing a training script needs; standard library
only.

The order at the end matters: the record first (it must arrive even if the hub does not answer), then the metrics, for
a few seconds, then the lock.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

from orkrun import config as configs
from orkrun import contract, failure, record
from orkrun.contract import Config, ExitCode, Outcome, TerminationRecord
from orkrun.errors import ConfigError, Interrupted, RunError
from orkrun.files import FolderLock, prepare_folder, write_atomic
from orkrun.handle import Run
from orkrun.reporter import Reporter, Sender, Target
from orkrun.spool import Spool
from orkrun.uploader import Uploader

RESULT = "result.json"
IDENTITY = "run.json"
FLUSH_SECONDS = 4.0
"""How long the end of a run waits for the hub to take the last metrics."""

_QUIET = {
    ExitCode.INVALID_PARAMS,
    ExitCode.DATA_ERROR,
    ExitCode.CANNOT_CREATE,
    ExitCode.TRY_AGAIN,
    ExitCode.CONFIG_ERROR,
    ExitCode.INTERRUPTED,
}
"""Exits whose message says everything: a traceback would only hide it."""


class run:
    """A context manager around a whole training: `with orkrun.run() as run: ...`.

    Without `config` the operator's is read. On entry it leaves the process at once where there is nothing to do (the
    same run is finished: exit 0) or nothing can be done (exit 64..78). On exit it writes the final record and, unless
    all went well, ends the process with the exit code of the contract. `packages`: top-level packages that are the
    user's own code.

    `reports=False`: one of several processes of a training that another one reports. It reads the same config, sees
    SIGTERM and ends by the same codes, but writes nothing: no folder, lock, metrics or record.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        packages: Iterable[str] = (),
        environ: Mapping[str, str] = os.environ,
        reports: bool = True,
    ) -> None:
        self._reports = reports
        self._config = config
        self._packages = tuple(packages)
        self._environ = environ
        self._in_cluster = config is None
        self._log = record.termination_log(environ, in_cluster=self._in_cluster) if reports else None
        self._run: Run | None = None
        self._lock: FolderLock | None = None
        self._reporter: Reporter | None = None
        self._uploader: Uploader | None = None
        self._interrupted = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Run:
        self._catch_signals()
        try:
            return self._start()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it goes into the final record
            self._fail(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and not error.code):
            try:
                self._finish()
            except OSError as problem:
                self._fail(problem)
            return
        self._fail(error)

    # --- start --------------------------------------------------------------------------------------------------------

    def _start(self) -> Run:
        config = self._config if self._config is not None else configs.read_config(self._environ)
        self._config = config
        output = Path(config["output"])
        if not self._reports:
            if self._same_run(config, output) is not None:
                raise SystemExit(0)  # as the reporting one does
            self._run = Run(config, None, None)
            self._run.interrupted = self._interrupted
            return self._run
        prepare_folder(output)
        self._lock = FolderLock(output)
        finished = self._same_run(config, output)
        # A finished run may still have lines that a hub which was down has not seen.
        self._reporter = Reporter(output, self._target(config, contract.metrics_path), rng=random.Random())
        self._uploader = Uploader(output, self._target(config, contract.artifacts_path), rng=random.Random())
        if finished is not None:
            self._write_record(finished)
            print(f"orkrun: {output} holds the finished run already, nothing to do", file=sys.stderr)
            self._close()
            raise SystemExit(0)
        self._run = Run(config, Spool(output, config["attempt"]), self._reporter, self._uploader)
        self._run.interrupted = self._interrupted
        return self._run

    def _target(self, config: Config, path: Callable[[str, str], str]) -> Target:
        base = self._environ.get(contract.ENV_URL, "").rstrip("/") if self._in_cluster else ""
        token = Path(self._environ.get(contract.ENV_TOKEN_FILE) or contract.DEFAULT_TOKEN_FILE)
        return Target(base and base + path(config["namespace"], config["experiment"]), token)

    def _same_run(self, config: Config, output: Path) -> TerminationRecord | None:
        """The record of the finished run, None where it is still to be done. Raises ConfigError if the folder is
        another run's.
        """
        own = configs.identity(config)
        try:
            held = json.loads((output / IDENTITY).read_bytes())
        except FileNotFoundError:
            if not self._reports:
                return None
            content = {"run": own, "params": config["params"], "seed": config["seed"]}
            write_atomic(output / IDENTITY, json.dumps(content, indent=1, default=str).encode())
            return None
        except ValueError as error:
            raise ConfigError(f"{output / IDENTITY} is damaged ({error}): use another output folder") from error
        if held.get("run") != own:
            raise ConfigError(
                f"output folder {output} holds another run (other parameters, seed or data; see {output / IDENTITY}): "
                "give the run its own output folder, or the parameters it was started with"
            )
        try:
            result = json.loads((output / RESULT).read_bytes())
        except (OSError, ValueError):
            return None
        kept: TerminationRecord = result["record"]
        return kept if kept["outcome"] == Outcome.SUCCEEDED else None

    def _catch_signals(self) -> None:
        def on_signal(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGINT and self._interrupted:
                raise KeyboardInterrupt  # the second Ctrl-C of a person who does not want to wait
            self._interrupted = True
            if self._run is not None:
                self._run.interrupted = True

        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._handlers[number] = signal.signal(number, on_signal)
            except ValueError:  # not the main thread: whoever owns the process handles its signals
                return

    # --- end ----------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        assert self._run is not None, "entered before it is left"
        if not self._reports:
            self._close()
            return
        final = self._run.record(Outcome.SUCCEEDED)
        objective = self._run.objective
        if objective is not None and "objective" not in final:
            print(f"orkrun: the run ends without a finite {objective['metric']}, its objective", file=sys.stderr)
        self._write_result(final)
        self._write_record(final)
        self._close()

    def _fail(self, error: BaseException) -> NoReturn:
        output = Path(self._config["output"]) if self._config is not None else None
        code = failure.exit_code(error, output)
        if isinstance(error, SystemExit) and code == 0:
            raise SystemExit(0)
        if not self._reports:
            if not isinstance(error, RunError | KeyboardInterrupt):  # what the reporting one cannot know
                traceback.print_exception(error)
            self._close()
            raise SystemExit(int(code)) from None
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        outcome = Outcome.INTERRUPTED if stopped else Outcome.FAILED
        final: TerminationRecord = (
            self._run.record(outcome) if self._run else {"version": contract.VERSION, "outcome": outcome.value}
        )
        if not stopped:
            final["failure"] = failure.describe(error, self._packages)
            if code in _QUIET:
                final["failure"].pop("excerpt", None)
        if code in _QUIET and isinstance(error, RunError):
            print(f"{failure.qualified_name(type(error))}: {error}", file=sys.stderr, flush=True)
        elif not stopped:
            traceback.print_exception(error)
        self._write_record(final)
        if self._run is not None:
            try:
                self._write_result(final)
            except OSError as problem:
                print(f"orkrun: {problem}", file=sys.stderr)
        self._close()
        raise SystemExit(int(code)) from None

    def _write_record(self, final: TerminationRecord) -> None:
        if self._log is not None:
            objective = self._config.get("objective") if self._config is not None else None
            record.write_termination(
                self._log, record.encode(final, objective=objective["metric"] if objective else None)
            )

    def _write_result(self, final: TerminationRecord) -> None:
        assert self._run is not None, "only a run that started has a result"
        content = {
            "run": configs.identity(self._run.config),
            "attempt": self._run.attempt,
            "time": time.time(),
            "record": final,
        }
        write_atomic(self._run.output / RESULT, json.dumps(content, indent=1).encode())

    def _close(self) -> None:
        deadline = time.monotonic() + FLUSH_SECONDS
        senders: list[Sender] = [sender for sender in (self._reporter, self._uploader) if sender is not None]
        for sender in senders:
            sender.closing(deadline)  # both at once: together they have no more time than one
        for sender in senders:
            if not sender.close(FLUSH_SECONDS):
                print(
                    f"orkrun: some {sender.what} are not sent; they are in the output folder for the next attempt",
                    file=sys.stderr,
                )
        if self._lock is not None:
            self._lock.release()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
