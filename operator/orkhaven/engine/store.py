"""What is known of the cluster: views by kind and key, newest only, with the indexes that reconciling needs.

Holds views and never bodies. Fed from three sides (watch, resync, answers to own writes) that arrive in any order, so
each object's resourceVersion decides, and a deleted uid never comes back.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import replace
from itertools import chain
from typing import Any

from orkhaven.core.debug import is_debug
from orkhaven.core.identity import param_hash
from orkhaven.core.kueue.workload import WorkloadView
from orkhaven.core.nodes import Blame, blames_of
from orkhaven.core.views import ExperimentView, Heard, JobView, Key, NodeView, PodView, ReadState, SweepView
from orkhaven.engine.ports import Kind
from orkrun.contract import LABEL_EXPERIMENT, LABEL_PARAM_HASH

View = SweepView | ExperimentView | JobView | PodView | NodeView | WorkloadView
_OWNED = (Kind.EXPERIMENT, Kind.JOB, Kind.WORKLOAD)
TOMBSTONES = 20_000
"""Deleted uids that are remembered. A watch event is late by seconds, and no cluster deletes this many in that time."""


class Store:
    """Not thread-safe: used from the engine's event loop only, but for `known`, which reads one entry: views never
    change."""

    def __init__(
        self,
        *,
        run_of: Callable[[ExperimentView], str | None] = lambda view: view.status.run_hash,
        blaming: Callable[[str], Set[str]] = lambda namespace: frozenset(),
    ) -> None:
        """`run_of`: an Experiment's run hash; asked once for one whose status does not say it yet. `blaming`: names of
        a namespace's rules whose failures are the node's."""
        self._run_of = run_of
        self._blaming = blaming
        self._runs: dict[tuple[str, str], tuple[Key, ...]] = {}
        """(namespace, run hash) -> Experiments. Nearly all are alone, so these are tuples."""
        self._unsaid: dict[Key, str] = {}
        """Run hashes of those whose status does not say it yet."""
        self._views: dict[Kind, dict[Key, Any]] = {kind: {} for kind in Kind}
        self._children: dict[str, dict[Key, None]] = defaultdict(dict)
        """Owner's uid -> keys of Experiments (of a sweep), Jobs (of an experiment) or Workloads (of a Job)."""
        self._pods: dict[Key, dict[Key, None]] = defaultdict(dict)
        """Experiment -> keys of its pods, by label: a pod outlives its Job's deletion."""
        self._left: set[Key] = set()
        """Experiments that are gone, or were made anew, while pods of theirs are still there."""
        self._heard: dict[str, Heard] = {}
        """By uid of a pod: what was read of it, until its attempt's end is in the Experiment's status. A log's end has
        64 KiB."""
        self._blames: dict[str, tuple[Blame, ...]] = {}
        """By uid of an Experiment: its attempts that failed on a node of what may be the node's. Few have any."""
        self.blamed = 0
        """Rises whenever a blame comes or goes."""
        self._tombstones: OrderedDict[str, None] = OrderedDict()

    # --- read ------------------------------------------------------------------------------------------------------

    def sweep(self, key: Key) -> SweepView | None:
        view: SweepView | None = self._views[Kind.SWEEP].get(key)
        return view

    def experiment(self, key: Key) -> ExperimentView | None:
        view: ExperimentView | None = self._views[Kind.EXPERIMENT].get(key)
        return view

    def job(self, key: Key) -> JobView | None:
        view: JobView | None = self._views[Kind.JOB].get(key)
        return view

    def children(self, sweep: SweepView) -> list[ExperimentView]:
        """The sweep's own experiments, not those of a deleted namesake."""
        experiments = self._views[Kind.EXPERIMENT]
        return [experiments[key] for key in self._children.get(sweep.meta.uid, ())]

    def twins(self, experiment: ExperimentView) -> list[ExperimentView]:
        """The namespace's other Experiments that are the same run."""
        key = experiment.meta.key
        run = self._run(experiment)
        keys = self._runs.get((key.namespace, run), ()) if run else ()
        experiments = self._views[Kind.EXPERIMENT]
        return [experiments[other] for other in keys if other != key]

    def jobs(self, experiment: ExperimentView) -> list[JobView]:
        """Of its attempts."""
        return [job for job in self._own_jobs(experiment) if not is_debug(job)]

    def debug_job(self, experiment: ExperimentView) -> JobView | None:
        """That of a pod to look around in."""
        return next((job for job in self._own_jobs(experiment) if is_debug(job)), None)

    def _own_jobs(self, experiment: ExperimentView) -> list[JobView]:
        jobs = self._views[Kind.JOB]
        return [jobs[key] for key in self._children.get(experiment.meta.uid, ())]

    def workload(self, job: JobView) -> WorkloadView | None:
        """Kueue's Workload of a Job: the latest, where an older one is still being removed."""
        workloads = self._views[Kind.WORKLOAD]
        found = [workloads[key] for key in self._children.get(job.meta.uid, ())]
        return max(found, key=lambda view: (not view.meta.deleting, view.meta.created), default=None)

    def owner_of_job(self, job: JobView) -> ExperimentView | None:
        """The experiment that a Job was made for; None where that is gone, or a namesake has its place."""
        found = self.experiment(Key(job.meta.key.namespace, job.meta.owner_name or ""))
        return found if found is not None and found.meta.uid == job.meta.owner_uid else None

    def pods(self, experiment: Key) -> list[PodView]:
        """With what was read of them."""
        pods, heard = self._views[Kind.POD], self._heard
        found = [pods[key] for key in self._pods.get(experiment, ())]
        if not heard:
            return found
        return [replace(pod, heard=heard[pod.meta.uid]) if pod.meta.uid in heard else pod for pod in found]

    def left_behind(self, experiment: ExperimentView) -> list[PodView]:
        """Pods of deleted Experiments of the namespace that had its parameters: they may still be writing."""
        if not self._left or experiment.spec is None:
            return []
        try:
            label = experiment.status.param_hash or param_hash(experiment.spec.params)
        except ValueError:
            return []
        key, pods, found = experiment.meta.key, self._views[Kind.POD], []
        for former in self._left:
            if former.namespace == key.namespace:
                found += [pods[pod] for pod in self._pods.get(former, ()) if self._is_left(pods[pod], former)]
        return [pod for pod in found if label.startswith(pod.meta.labels.get(LABEL_PARAM_HASH, "-"))]

    def all(self, kind: Kind) -> Mapping[Key, Any]:
        return self._views[kind]

    def experiments(self) -> Iterator[ExperimentView]:
        return iter(self._views[Kind.EXPERIMENT].values())

    def all_jobs(self) -> Iterator[JobView]:
        return iter(self._views[Kind.JOB].values())

    def all_pods(self) -> Iterator[PodView]:
        return iter(self._views[Kind.POD].values())

    def blames(self) -> Iterator[Blame]:
        """Of all Experiments."""
        return chain.from_iterable(self._blames.values())

    def nodes(self) -> dict[str, NodeView]:
        """By name."""
        return {key.name: view for key, view in self._views[Kind.NODE].items()}

    def known(self, kind: Kind, body: Mapping[str, Any]) -> Any | None:
        """The view held of this very object, where it is of this version or a newer one.

        Ten thousand objects that are listed again, and the watch's echo of what was just written, need no parsing.
        """
        meta = body.get("metadata")
        if not isinstance(meta, Mapping):
            return None
        view = self._views[kind].get(Key(meta.get("namespace") or "", meta.get("name") or ""))
        if view is None or view.meta.uid != meta.get("uid"):
            return None
        version = str(meta.get("resourceVersion"))
        return view if version.isdecimal() and int(version) <= view.meta.resource_version else None

    # --- write -----------------------------------------------------------------------------------------------------

    def upsert(self, kind: Kind, view: View) -> tuple[Any | None, Any] | None:
        """(what was there, what is there now), or None where nothing changed because what is known is newer."""
        change = self._upsert(kind, view)
        if change is not None and isinstance(view, ExperimentView):
            self._forget_heard(view)
            self._blame(view)
        return change

    def blame_anew(self) -> None:
        """The rules have changed."""
        for view in self.experiments():
            self._blame(view)

    def _blame(self, view: ExperimentView) -> None:
        blames = blames_of(view.meta.uid, view.status, rules=self._blaming(view.meta.key.namespace))
        if blames != self._blames.get(view.meta.uid, ()):
            self.blamed += 1
            self._blames[view.meta.uid] = blames
            if not blames:
                del self._blames[view.meta.uid]

    def hear(self, pod: Key, uid: str, heard: Heard) -> None:
        """What was read of a pod that is still there. What is read later adds to it."""
        known = self._views[Kind.POD].get(pod)
        if known is None or known.meta.uid != uid:
            return
        before = self._heard.get(uid)
        if before is not None and heard.log_state is ReadState.UNREAD:
            heard = replace(heard, log_state=before.log_state, log_tail=before.log_tail)
        if before is not None and heard.events_state is ReadState.UNREAD:
            heard = replace(heard, events_state=before.events_state, events=before.events)
        self._heard[uid] = heard

    def _forget_heard(self, experiment: ExperimentView) -> None:
        attempts = experiment.status.attempts
        if self._heard and attempts and attempts[-1].reason is not None:
            pods = self._views[Kind.POD]
            for key in self._pods.get(experiment.meta.key, ()):
                self._heard.pop(pods[key].meta.uid, None)

    def _upsert(self, kind: Kind, view: View) -> tuple[Any | None, Any] | None:
        meta = view.meta
        if meta.uid in self._tombstones:
            return None
        old: Any | None = self._views[kind].get(meta.key)
        if old is not None:
            if meta.resource_version <= old.meta.resource_version:
                return None
            if old.meta.uid != meta.uid:
                # A namesake, newer than what is known: the old one is gone, whether or not its deletion was seen.
                self._remove(kind, old)
            elif _same_place(old, view):
                self._views[kind][meta.key] = view
                return old, view
            else:
                self._unindex(kind, old)
        self._views[kind][meta.key] = view
        self._index(kind, view)
        return old, view

    def delete(self, kind: Kind, key: Key, uid: str) -> Any | None:
        """What was there, or None where it was unknown or a younger namesake."""
        self._bury(uid)
        old = self._views[kind].get(key)
        if old is None or old.meta.uid != uid:
            return None
        self._remove(kind, old)
        return old

    def mark_deleting(self, kind: Kind, key: Key, uid: str) -> None:
        """Remember an own successful delete until the watch tells, so that it is not sent again."""
        old = self._views[kind].get(key)
        if old is not None and old.meta.uid == uid:
            self._views[kind][key] = replace(old, meta=replace(old.meta, deleting=True))

    def missing(
        self, kind: Kind, present: Iterable[tuple[Key, str]], *, listed_at: int, namespace: str | None = None
    ) -> list[View]:
        """What a full list does not have, of what is older than the list: its DELETED event was missed.

        `present` are the keys and uids of the list, `listed_at` its resourceVersion; what is newer was made after it.
        """
        uids = {uid for _, uid in present}
        return [
            view
            for key, view in self._views[kind].items()
            if view.meta.uid not in uids
            and view.meta.resource_version <= listed_at
            and (namespace is None or key.namespace == namespace)
        ]

    # --- inside ----------------------------------------------------------------------------------------------------

    def _remove(self, kind: Kind, view: Any) -> None:
        self._bury(view.meta.uid)
        if self._blames.pop(view.meta.uid, None):
            self.blamed += 1
        self._heard.pop(view.meta.uid, None)
        self._unindex(kind, view)
        del self._views[kind][view.meta.key]
        if kind is Kind.EXPERIMENT:
            self._look_for_left(view.meta.key)

    def _bury(self, uid: str) -> None:
        self._tombstones[uid] = None
        self._tombstones.move_to_end(uid)
        while len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)

    def _index(self, kind: Kind, view: View) -> None:
        if kind is Kind.EXPERIMENT:
            self._index_run(view)
        if kind in _OWNED and view.meta.owner_uid:
            self._children[view.meta.owner_uid][view.meta.key] = None
        elif kind is Kind.POD and (experiment := experiment_of_pod(view)) is not None:
            self._pods[experiment][view.meta.key] = None
            if self._is_left(view, experiment):
                self._left.add(experiment)
        if kind is Kind.EXPERIMENT:
            self._look_for_left(view.meta.key)

    def _unindex(self, kind: Kind, view: View) -> None:
        if kind is Kind.EXPERIMENT:
            self._unindex_run(view)
        if kind in _OWNED and view.meta.owner_uid:
            _discard(self._children, view.meta.owner_uid, view.meta.key)
        elif kind is Kind.POD and (experiment := experiment_of_pod(view)) is not None:
            _discard(self._pods, experiment, view.meta.key)
            if experiment not in self._pods:
                self._left.discard(experiment)

    def _is_left(self, pod: View, experiment: Key) -> bool:
        """Whether the Experiment that it was made for is gone. A namesake is younger than the pod."""
        found = self.experiment(experiment)
        return found is None or pod.meta.created < found.meta.created

    def _look_for_left(self, experiment: Key) -> None:
        pods = self._views[Kind.POD]
        if any(self._is_left(pods[pod], experiment) for pod in self._pods.get(experiment, ())):
            self._left.add(experiment)
        else:
            self._left.discard(experiment)

    def _run(self, view: ExperimentView) -> str | None:
        return view.status.run_hash or self._unsaid.get(view.meta.key)

    def _index_run(self, view: Any) -> None:
        key = view.meta.key
        run = view.status.run_hash
        if run is None:
            run = self._run_of(view)
            if run is None:
                return
            self._unsaid[key] = run
        place = (key.namespace, run)
        self._runs[place] = (*self._runs.get(place, ()), key)

    def _unindex_run(self, view: Any) -> None:
        key = view.meta.key
        run = self._run(view)
        self._unsaid.pop(key, None)
        left = tuple(other for other in self._runs.get((key.namespace, run or ""), ()) if other != key)
        if left:
            self._runs[key.namespace, run or ""] = left
        else:
            self._runs.pop((key.namespace, run or ""), None)


def experiment_of_pod(pod: View) -> Key | None:
    """The experiment that a pod (or a Job) is labelled with."""
    name = pod.meta.labels.get(LABEL_EXPERIMENT)
    return Key(pod.meta.key.namespace, name) if name else None


def _same_place(old: Any, new: Any) -> bool:
    """Whether the indexes stay as they are."""
    if isinstance(new, ExperimentView) and old.status.run_hash != new.status.run_hash:
        return False
    same_owner = old.meta.owner_uid == new.meta.owner_uid
    return bool(same_owner and old.meta.labels.get(LABEL_EXPERIMENT) == new.meta.labels.get(LABEL_EXPERIMENT))


def _discard(index: dict[Any, dict[Key, None]], where: Any, key: Key) -> None:
    keys = index.get(where)
    if keys is not None:
        keys.pop(key, None)
        if not keys:
            del index[where]
