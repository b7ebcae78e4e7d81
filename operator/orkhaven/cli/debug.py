"""`debug`: what a run said last, then a shell where it failed: its image, node, parameters, data and environment.

The operator makes the pod (spec.debug), as it makes those of the attempts; this waits for it, enters it with
`kubectl exec`, and takes the wish back when the shell ends. Commands from a pipe or a file are run in it just so; where
there is neither a terminal nor a pipe, it says how to enter.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from orkhaven.cli import find
from orkhaven.cli.output import bold, printable
from orkhaven.cli.session import MANAGER, Session
from orkhaven.client.errors import Invalid, OrkhavenError
from orkhaven.client.kube import Body, Kube

LABEL = "orkhaven.io/debug"
WAIT = 300.0
"""Seconds for the pod to run: a large image takes minutes the first time on a node."""
PAUSE = 1.0
SPARE = 60.0
"""Seconds that a pod that is there must have left to be entered once more."""
# What the image has.
_SHELL = "command -v bash >/dev/null 2>&1 && exec bash; exec sh"

Run = Callable[[Sequence[str]], int]


def debug(
    session: Session,
    name: str,
    *,
    timeout: str,
    gpu: bool,
    keep: bool,
    run: Run = subprocess.call,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    from orkhaven.api.meta import parse_duration

    try:
        length = parse_duration(timeout)
    except ValueError as error:
        raise Invalid(f"--timeout {error}") from error
    if not timedelta(minutes=1) <= length <= timedelta(hours=24):
        raise Invalid(f"--timeout {timeout}: from 1m to 24h")
    kube = session.kube
    body = find.experiment(kube, name)
    if not (body.get("status") or {}).get("runHash"):
        raise OrkhavenError(
            f"the operator has not looked at {name} yet", hint=f"{session.command('why', name)} says more"
        )
    _last_words(body)
    flags = _stdin()
    until = _ask(kube, body, session.now + length, gpu=gpu, now=session.now)
    try:
        pod = _ready(kube, body, pause=pause)
        return _enter(session, body, pod, flags, until=until, keep=keep, run=run)
    finally:
        if not keep and flags is not None:
            kube.patch("Experiment", body["metadata"]["name"], {"spec": {"debug": None}}, manager=MANAGER)


def _stdin() -> str | None:
    """How `kubectl exec` is to take what is typed: "-it" from a terminal, "-i" from a pipe or a file, None: nobody
    types.
    """
    if sys.stdin.isatty():
        return "-it"
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # closed, or none of the system's
        return None
    return "-i" if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode) else None


def _last_words(body: Body) -> None:
    failure = (body.get("status") or {}).get("failure") or {}
    if not failure:
        return
    print(f"{bold(failure.get('reason') or '')}: {printable(failure.get('message') or '')}")
    for line in (failure.get("excerpt") or "").splitlines():
        print(f"  {printable(line)}")
    if failure.get("suggestion"):
        print(f"to do: {failure['suggestion']}")
    print()


def _ask(kube: Kube, body: Body, until: datetime, *, gpu: bool, now: datetime) -> str:
    """Until when; that of a pod which is there already stays, for somebody may be in it."""
    held = body["spec"].get("debug") or {}
    if held and bool(held.get("gpus")) == gpu and (_moment(held["until"]) - now).total_seconds() > SPARE:
        return str(held["until"])
    wish = {"until": f"{until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", "gpus": gpu}
    kube.patch("Experiment", body["metadata"]["name"], {"spec": {"debug": wish}}, manager=MANAGER)
    return str(wish["until"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _ready(kube: Kube, body: Body, *, pause: Callable[[float], None]) -> str:
    """The pod's name, once it runs."""
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    said, waited = "", 0.0
    while True:
        pods = kube.each("Pod", namespace=namespace, labels=f"{LABEL}={name}")
        there = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        pod = max(there, key=lambda one: one["metadata"].get("creationTimestamp") or "", default=None)
        if pod is not None and (pod.get("status") or {}).get("phase") == "Running":
            return str(pod["metadata"]["name"])
        words = _waits_for(pod)
        if words != said:
            print(words, file=sys.stderr)
            said = words
        if waited >= WAIT:
            raise OrkhavenError(
                f"the pod does not run after {WAIT:g} s: {words}",
                hint=f"kubectl describe pods -n {namespace} -l {LABEL}={name} says more",
            )
        pause(PAUSE)
        waited += PAUSE


def _waits_for(pod: Body | None) -> str:
    if pod is None:
        return "waits for the operator to make the pod"
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return f"the pod has ended: {status.get('reason') or status['phase']}"
    for one in status.get("containerStatuses") or ():
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return f"{waiting['reason']}: {waiting.get('message') or 'on its node'}"
    for one in status.get("conditions") or ():
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return f"{one.get('reason')}: {one.get('message')}"
    return "waits for a node"


def _enter(session: Session, body: Body, pod: str, flags: str | None, *, until: str, keep: bool, run: Run) -> int:
    meta, spec = body["metadata"], body["spec"]
    program, verb, *options = session.target.kubectl("exec")
    command = [program, verb, *options, "-n", meta["namespace"], flags or "-it", pod, "-c", "trainer", "--"]
    command += ["/bin/sh", "-c", _SHELL]
    started = shlex.join(spec["command"]) if spec.get("command") else "the image's own entry point"
    print(f"pod {pod}, until {until}. The run was started with: {started}")
    print("Its output can be read under /output; what is started here writes to /tmp/output and reports nothing.")
    if flags is None:
        print(f"enter it: {shlex.join(['kubectl', *command[1:]])}")
        print(
            f"end it: kubectl patch experiment.orkhaven.io {meta['name']} -n {meta['namespace']} --type merge "
            """-p '{"spec":{"debug":null}}'"""
        )
        return 0
    sys.stdout.flush()  # into a file or a pipe it would come after what the shell says
    code = run(command)
    if keep:
        print(f"the pod stays until {until}: {session.command('debug', meta['name'])} enters it again")
    return code
