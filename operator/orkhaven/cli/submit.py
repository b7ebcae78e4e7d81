"""`submit`: says what it would make, then applies it by server-side apply."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from orkhaven.cli import find
from orkhaven.cli.session import MANAGER, Session
from orkhaven.client.check import check
from orkhaven.client.creator import signed
from orkhaven.client.errors import Conflict, Invalid, OrkhavenError
from orkhaven.client.kube import Body
from orkhaven.client.manifest import Setting, changed, problems, read
from orkhaven.client.plan import plan

MOST_SHOWN = 10
"""Lines of one object; `lint` has no end."""


def submit(
    session: Session,
    files: Sequence[str],
    *,
    settings: Sequence[str],
    dry_run: bool,
    watch: bool,
    force: bool,
    check_params: bool,
) -> int:
    bodies = checked(load(files), settings)
    if check_params:
        ask_the_trainer(bodies)
    kube = session.kube
    for body in bodies:
        namespace = body["metadata"].setdefault("namespace", kube.namespace)
        if session.namespace and namespace != session.namespace:
            raise Invalid(
                f"{_name(body)}: the file says namespace {namespace!r}, -n says {session.namespace!r}; "
                "leave one of them out"
            )
    for body in bodies:
        planned = plan(body, kube.each("Experiment", namespace=body["metadata"]["namespace"]))
        for said in (planned.sentence(), *planned.notes):
            print(f"{_name(body)}: {said}")
    applied = []
    for body in bodies:
        try:
            applied.append(kube.apply(signed(kube, body), manager=MANAGER, dry_run=dry_run, force=force))
        except Conflict as error:
            raise Conflict(f"{_name(body)}: {error}", hint="--force takes these fields over") from error
        except Invalid as error:
            raise Invalid(f"{_name(body)}: {error}", hint=error.hint) from error
        said = "the API server would take it (dry run: nothing was kept)" if dry_run else "applied"
        print(f"{_name(body)}: {said}")
    if dry_run:
        return 0
    if not watch:
        first = applied[0]
        verb = "status" if first["kind"] == "Sweep" else "describe"
        print(f"next: {session.command(verb, first['metadata']['name'], *(['-w'] if verb == 'status' else []))}")
        return 0
    return max(_watch(session, body) for body in applied)


def _watch(session: Session, body: Body) -> int:
    from orkhaven.cli.status import follow
    from orkhaven.client.waiting import line

    latest, said = body, ""
    for latest in follow(session.kube, body):
        text = line(latest)
        if text != said:
            print(text, flush=True)
            said = text
    return find.exit_code(latest)


def load(files: Sequence[str]) -> list[Body]:
    """The bodies of all files. Raises Invalid."""
    bodies = []
    for name in files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{name}: {getattr(error, 'strerror', None) or error}") from error
        bodies += read(text, name="standard input" if name == "-" else name)
    return bodies


def checked(bodies: Sequence[Body], settings: Sequence[str]) -> list[Body]:
    """With the settings in them. Raises Invalid with everything that the API server would refuse."""
    parsed = [Setting.parse(text) for text in settings]
    bodies = [changed(body, parsed) for body in bodies]
    wrong = [f"  {_name(body)}: {problem}" for body in bodies for problem in problems(body)]
    if wrong:
        raise OrkhavenError("this would be refused, so nothing was sent:\n" + "\n".join(wrong))
    return bodies


def ask_the_trainer(bodies: Sequence[Body]) -> None:
    """Raises OrkhavenError with the parameters that the trainer would refuse: some minutes before a pod says so."""
    lines = []
    for body in bodies:
        verdict = check(body)
        for one in verdict.wrong[:MOST_SHOWN]:
            share = verdict.share(one)
            lines.append(f"  {_name(body)}: {one.where}: {one.problem}" + (f" ({share})" if share else ""))
        if len(verdict.wrong) > MOST_SHOWN:
            lines.append(f"  {_name(body)}: and {len(verdict.wrong) - MOST_SHOWN} more; kubectl ork lint shows all")
    if lines:
        raise OrkhavenError(
            "the trainer would refuse these parameters, so nothing was sent:\n" + "\n".join(lines),
            hint="--no-check submits it all the same: such trials end as InvalidParams, the others run",
        )


def _name(body: Body) -> str:
    name = (body.get("metadata") or {}).get("name") or "(without a name)"
    return f"{body['kind'].lower()}/{name}"
