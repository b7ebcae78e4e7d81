"""`failures` and `why`: what went wrong or what stands in the way, and what a person would do about it."""

from __future__ import annotations

from typing import Any

from orkhaven.cli import find
from orkhaven.cli.output import Column, Format, View, ago, bold, emit, facts, instant, printable, span, tinted
from orkhaven.cli.remedy import line_for
from orkhaven.cli.session import Session
from orkhaven.cli.status import ended_trials
from orkhaven.client.kube import Body, event_time

CLUSTERS = (
    Column("CLUSTER", "id"),
    Column("COUNT", "count", right=True),
    Column("REASON", "reason"),
    Column("MESSAGE", "message", shrink=True),
    Column("SAMPLES", "samples", show=lambda names: ", ".join(names)),
)


RERUNS = (
    Column("ID", "id"),
    Column("SELECTED", "selected", right=True),
    Column("MADE", "created", right=True),
    Column("SUCCEEDED", "succeeded", right=True),
    Column("FAILED", "failed", right=True),
    Column("MESSAGE", "message", shrink=True),
)


def failures(session: Session, name: str) -> int:
    body = find.sweep(session.kube, name)
    status = body.get("status") or {}
    clusters = status.get("failureClusters") or []
    if session.output is not Format.TABLE:
        emit(View([*CLUSTERS, Column("SUGGESTION", "suggestion")], clusters, data=clusters), session.output)
        return 0
    trials = status.get("trials") or {}
    ended = ended_trials(status)
    for words in held_in_words(body):
        print(words)
    if not clusters:
        print(f"{name}: none of {ended} ended trials failed" if ended else f"{name}: no trial has ended yet")
        return 0
    print(f"{bold(name)}: {trials.get('failed', 0)} of {ended} ended trials failed, of {_causes(len(clusters))}")
    for one in clusters:
        samples = one.get("samples") or []
        pairs = [
            ("says", printable(one.get("message") or "")),
            ("where", printable(one.get("where") or "")),
            ("common", "\n".join(printable(c.get("text") or "") for c in one.get("correlates") or ())),
            ("nodes", places(one.get("nodes") or [])),
            ("seen", _seen(one, session)),
            ("trials", ", ".join(samples) + (" and more" if one["count"] > len(samples) else "")),
            ("to do", one.get("suggestion") or ""),
            ("look", session.command("why", samples[0]) if samples else ""),
            ("again", line_for(session, body, one)),
        ]
        number = f"  cluster {one['id']}" if one.get("id") else ""
        print(f"\n{one['count']} x {bold(one['reason'])}{number}\n{facts(pairs)}")
    if rest := status.get("otherFailures"):
        print(f"\nand {rest.get('trials', 0)} trials of {rest.get('clusters', 0)} smaller clusters")
    if status.get("reruns"):
        print("\nRun again")
        emit(View(RERUNS, status["reruns"]), Format.TABLE)
    return 0


def held_in_words(body: Body) -> list[str]:
    """Why a sweep has stopped itself, and which nodes its runs go past."""
    from orkhaven.api.policy import held_message
    from orkhaven.api.retry import avoided_in_words

    lines = [f"stopped: {printable(words)}\n" for words in (held_message(body.get("status")),) if words]
    avoided = avoided_in_words((body.get("status") or {}).get("avoidedNodes"))
    return [*lines, *([f"runs go past {printable(avoided)}\n"] if avoided else [])]


def places(found: list[dict[str, Any]]) -> str:
    """Names with how often: "gpu-3 (4), gpu-1 (1)"."""
    return ", ".join(f"{printable(str(one.get('name')))} ({one.get('count')})" for one in found)


def _seen(cluster: dict[str, Any], session: Session) -> str:
    first, last = cluster.get("firstSeen"), cluster.get("lastSeen")
    if not first or not last:
        return ""
    ended = f"last {ago(last, now=session.now)} ago"
    return ended if first == last else f"first {ago(first, now=session.now)} ago, {ended}"


def _causes(count: int) -> str:
    return "one cause" if count == 1 else f"{count} causes"


# --- why ---

_WAITING = {
    "WaitingForGpus": "it starts by itself when GPUs are free; kubectl ork gpus shows who holds them",
    "NoFittingNode": "no node of the cluster could ever run it: ask for less (spec.resources), or another GPU model",
    "WaitingForRetry": "it is tried again by itself",
    "WaitingForTwin": "it takes over that run's result, or goes its own way if that one fails or stands still; "
    "spec.dedupe: Never in a new Experiment runs beside it",
    "WaitingForKueue": "Kueue decides when it starts: see kubectl get workloads, and kubectl get localqueues",
    "Duplicate": "to run it again all the same: kubectl ork rerun",
    "Unschedulable": "the scheduler finds no place for its pod: see the Events for what it lacks",
    "PullingImage": "a large image takes minutes the first time on a node; a wrong name ends as ImagePull",
    "ContainerCreating": "volumes and Secrets are being mounted: if it stays so, the Events say which is missing",
    "WaitingForPod": "its Job is released and has no pod yet: if it stays so, the Job's Events say why (a quota?)",
    "StatusUnknown": "its node or the API server does not answer: it is not given up, what was last known holds",
    "Suspended": "resume it",
    "EarlyStopped": "others did better, or it got no better itself; kubectl ork resume goes on from its checkpoint",
    "Suspending": "it saves a checkpoint and stops",
    "Preempted": "it goes on by itself from its checkpoint, in its old place in the queue",
}


def why(session: Session, name: str) -> int:
    from orkhaven.cli.why import standing

    kube = session.kube
    body = find.experiment(kube, name)
    events = kube.events_of(body)
    told = explain(body)
    stands, steps = standing(session, body)
    if session.output is not Format.TABLE:
        data = {
            **told,
            "standing": dict(stands),
            "next": steps,
            "attempts": (body.get("status") or {}).get("attempts") or [],
            "events": [event_row(e) for e in events],
        }
        columns = [Column(key.upper(), key) for key in ("state", "reason", "message", "suggestion")]
        emit(View(columns, [told], data=data), session.output)
        return 0
    status = body.get("status") or {}
    print(f"{bold(name)} is {tinted(told['state'])}" + (f": {told['reason']}" if told["reason"] else ""))
    failure = status.get("failure") or {}
    print(
        facts(
            [
                ("says", printable(told["message"])),
                *stands,
                ("where", printable(failure.get("location") or "")),
                ("to do", told["suggestion"]),
                *retry_facts(status),
                ("then", "\n".join(steps)),
            ]
        )
    )
    if failure.get("excerpt"):
        print(f"\nLast words\n{_indented(failure['excerpt'])}")
    attempts = status.get("attempts") or []
    if attempts:
        print("\nAttempts")
        emit(View(ATTEMPTS, [attempt_row(one) for one in attempts]), Format.TABLE)
    if events:
        print("\nEvents")
        emit(
            View(EVENTS, [event_row(one) | {"age": ago(event_time(one), now=session.now)} for one in events]),
            Format.TABLE,
        )
    return 0


def retry_facts(status: Body) -> list[tuple[str, str]]:
    """What retries changed, where they do not go, and for how long nothing was heard; empty texts where nothing is."""
    from orkhaven.api.retry import avoided_in_words, changes_in_words

    silent = (status.get("progress") or {}).get("silent") if status.get("state") == "Running" else None
    heard = f"last heard at {silent['since']}, still nothing at {silent['until']}" if silent else ""
    return [
        ("tried with", printable(changes_in_words(status.get("overrides")))),
        ("goes past", printable(avoided_in_words(status.get("avoid")))),
        ("silent", heard),
    ]


def explain(body: Body) -> dict[str, Any]:
    """State, reason, message and what to do, of whatever state it is in."""
    status = body.get("status") or {}
    failure = status.get("failure") or {}
    state, reason = status.get("state") or "Pending", status.get("reason") or ""
    suggestion = failure.get("suggestion") or _WAITING.get(reason, "")
    message = status.get("message") or failure.get("message") or ""
    if not status:
        message = "the operator has not looked at it yet"
        suggestion = "is the operator running? kubectl ork version says"
    elif state == "Succeeded":
        message = message or "it has ended well: there is nothing to explain"
    if reason == "WaitingForRetry" and status.get("retryAt"):
        suggestion = f"it is tried again by itself at {status['retryAt']}"
    return {
        "experiment": body["metadata"]["name"],
        "state": state,
        "reason": reason,
        "message": message,
        "suggestion": suggestion,
    }


ATTEMPTS = (
    Column("#", "number", right=True),
    Column("REASON", "reason", colour=True),
    Column("EXIT", "exitCode", right=True),
    Column("TOOK", "took", right=True),
    Column("NODE", "node"),
    Column("GPU", "gpuModel"),
    Column("POD", "pod"),
    Column("MESSAGE", "message", shrink=True),
)

EVENTS = (
    Column("AGE", "age", right=True),
    Column("TYPE", "type"),
    Column("REASON", "reason"),
    Column("COUNT", "count", right=True),
    Column("MESSAGE", "message", shrink=True),
)


def attempt_row(attempt: Body) -> dict[str, Any]:
    start, end = attempt.get("startTime"), attempt.get("endTime")
    took = span((instant(end) - instant(start)).total_seconds()) if start and end else None
    return {**attempt, "took": took, "reason": attempt.get("reason") or "(under way)"}


def event_row(event: Body) -> dict[str, Any]:
    return {
        "time": event_time(event),
        "type": event.get("type"),
        "reason": event.get("reason"),
        "count": event.get("count") or (event.get("series") or {}).get("count") or 1,
        "message": event.get("message"),
    }


def _indented(text: str) -> str:
    return "\n".join(f"  {printable(line)}" for line in text.splitlines())
