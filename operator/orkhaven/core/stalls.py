"""Is it still alive: attempts that never started, and those of which nothing is heard any more.

A silence is what the hub says of it (`status.progress.silent`), never what is missing: where the hub was away nothing
is known, and a run that cannot be heard is not taken for one that has stopped.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from orkhaven.api import ExperimentSpec, Reason
from orkhaven.api.experiment import Progress
from orkhaven.api.meta import parse_duration
from orkhaven.core.failures import Cause
from orkhaven.core.views import Defaults, PodView

STEPS = 10
"""So many steps at its own pace a run may be silent: the longest of them, with a validation or a checkpoint, is seldom
more than a few times the mean."""


def not_started(pod: PodView, *, image: str, defaults: Defaults, now: datetime) -> tuple[Cause | None, float]:
    """(why the attempt ends, None while there is time left, seconds of that) of a pod whose container is not there."""
    bound = pod.scheduled or pod.started or pod.meta.created
    left = defaults.start_timeout_seconds - (now - bound).total_seconds()
    if left > 0:
        return None, left
    waited = in_words(now - bound)
    if pod.sandbox is False:
        what = f"volumes or network were not ready after {waited} on node {pod.node}"
        return Cause(reason=Reason.VOLUME_TIMEOUT, message=what), 0.0
    what = f"image {image} was not there after {waited} on node {pod.node}, or the container could not be made"
    return Cause(reason=Reason.IMAGE_PULL, message=what), 0.0


def silent(pod: PodView, spec: ExperimentSpec, progress: Progress | None, *, defaults: Defaults) -> Cause | None:
    """Why the attempt ends whose container runs; None: nothing is known against it."""
    started = pod.container.started
    if started is None or progress is None or progress.silent is None:
        return None
    since = max(progress.silent.since, started)
    length = progress.silent.until - since
    longest = limit(spec, progress, defaults=defaults)
    if longest is None or length < longest:
        return None
    heard = f"neither a report nor a line of its log in {in_words(length)}"
    if since == started:
        what = f"{heard}, since it started at {started:%H:%M:%S} UTC on node {pod.node}"
        return Cause(reason=Reason.HUNG_AT_START, message=what)
    pace = f", and steps took {progress.seconds_per_step:g} s" if progress.seconds_per_step else ""
    done = f"step {progress.step}" + (f" of {progress.total_steps}" if progress.total_steps is not None else "")
    if progress.total_steps is not None and progress.step >= progress.total_steps:
        done, pace = f"all of its {progress.total_steps} steps, but it has not ended", ""
    what = f"{heard}; last heard at {since:%H:%M:%S} UTC on node {pod.node}, after {done}{pace}"
    return Cause(reason=Reason.STALLED, message=what)


def limit(spec: ExperimentSpec, progress: Progress, *, defaults: Defaults) -> timedelta | None:
    """The longest silence; None: any. By default a run's own pace decides, so one that reports none is left alone."""
    if spec.stall_timeout is not None:
        return parse_duration(spec.stall_timeout)
    if not defaults.stall_seconds or not progress.seconds_per_step:
        return None
    return timedelta(seconds=max(defaults.stall_seconds, STEPS * progress.seconds_per_step))


def in_words(length: timedelta) -> str:
    """ "45 s", "12 min", "3 h 20 min" """
    seconds = int(length.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
