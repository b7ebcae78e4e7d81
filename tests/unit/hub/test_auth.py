"""Who may report for a run, and who may read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orkhaven.kube import TokenReview
from orkrun import contract
from tests.unit.hub.conftest import line, running_hub
from tests.unit.hub.fakes import API_AUDIENCE, AUDIENCE, NAMESPACE, FakeCluster, owner


def a_users_token(cluster: FakeCluster) -> str:
    cluster.tokens["mine"] = TokenReview(authenticated=True, username="anna", audiences=(AUDIENCE,))
    return "mine"


def for_another_audience(cluster: FakeCluster) -> str:
    return cluster.add_pod_token("other", cluster.objects["Pod", NAMESPACE, "trial-1-abcde"], audience=API_AUDIENCE)


def of_another_run(cluster: FakeCluster) -> str:
    return cluster.add_run("neighbour")


def of_another_namespace(cluster: FakeCluster) -> str:
    return cluster.add_run("trial", namespace="elsewhere")


def of_a_pod_made_anew(cluster: FakeCluster) -> str:
    cluster.objects["Pod", NAMESPACE, "trial-1-abcde"]["metadata"]["uid"] = "another"
    return "token-trial"


def of_a_pod_that_is_gone(cluster: FakeCluster) -> str:
    del cluster.objects["Pod", NAMESPACE, "trial-1-abcde"]
    return "token-trial"


def of_a_bare_pod_with_the_label(cluster: FakeCluster) -> str:
    pod = cluster.put("Pod", "bare", metadata={"labels": {contract.LABEL_EXPERIMENT: "trial"}})
    return cluster.add_pod_token("bare", pod)


def of_a_pod_of_a_foreign_job(cluster: FakeCluster) -> str:
    job = cluster.put("Job", "foreign")
    pod = cluster.put(
        "Pod",
        "foreign-abcde",
        metadata={"labels": {contract.LABEL_EXPERIMENT: "trial"}, "ownerReferences": [owner("batch/v1", job)]},
    )
    return cluster.add_pod_token("foreign", pod)


def of_an_earlier_experiment(cluster: FakeCluster) -> str:
    cluster.put("Experiment", "trial", spec={})
    return "token-trial"


REFUSED: dict[str, tuple[Callable[[FakeCluster], str], int, str]] = {
    "unknown token": (lambda cluster: "forged", 401, "invalid bearer token"),
    "audience": (for_another_audience, 401, "audience"),
    "not bound to a pod": (a_users_token, 403, "anna is not bound to a pod"),
    "another run": (of_another_run, 403, "belongs to experiment 'neighbour', not 'trial'"),
    "another namespace": (of_another_namespace, 403, "is not of namespace 'radiology'"),
    "pod made anew": (of_a_pod_made_anew, 403, "an earlier pod"),
    "pod gone": (of_a_pod_that_is_gone, 403, "is gone"),
    "bare pod": (of_a_bare_pod_with_the_label, 403, "is not controlled by a Job"),
    "foreign job": (of_a_pod_of_a_foreign_job, 403, "is not controlled by a Experiment"),
    "earlier experiment": (of_an_earlier_experiment, 403, "an earlier Experiment trial"),
}


@pytest.mark.parametrize(("make_token", "code", "message"), REFUSED.values(), ids=REFUSED)
async def test_a_token_that_is_not_the_run_s_own_is_refused(
    fake_cluster: FakeCluster,
    sqlite_url: str,
    make_token: Callable[[FakeCluster], str],
    code: int,
    message: str,
) -> None:
    fake_cluster.add_run("trial")
    token = make_token(fake_cluster)
    async with running_hub(fake_cluster, sqlite_url) as hub:
        answer = await hub.post("trial", [line(1, loss=1)], token=token)
        assert answer.status_code == code
        assert message in answer.json()["error"]["message"]
        assert hub.app.state.hub.store.reader.snapshot_by_name(NAMESPACE, "trial") is None


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer "])
async def test_without_a_token_the_answer_says_how_to_send_one(
    fake_cluster: FakeCluster, sqlite_url: str, header: str
) -> None:
    async with running_hub(fake_cluster, sqlite_url) as hub:
        answer = await hub.client.post(
            contract.metrics_path(NAMESPACE, "trial"), headers={"Authorization": header} if header else {}
        )
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer" in answer.json()["error"]["message"]
        assert fake_cluster.calls == []


async def test_an_accepted_token_is_asked_about_once(fake_cluster: FakeCluster, sqlite_url: str) -> None:
    fake_cluster.add_run("trial")
    async with running_hub(fake_cluster, sqlite_url, flush_seconds=600) as hub:
        for seq in range(1, 6):
            assert (await hub.post("trial", [line(seq, loss=1)])).status_code == 200
        assert fake_cluster.calls.count("review token") == 1


async def test_a_refused_token_is_asked_about_once(fake_cluster: FakeCluster, sqlite_url: str) -> None:
    async with running_hub(fake_cluster, sqlite_url) as hub:
        for _ in range(3):
            assert (await hub.post("trial", [line(1, loss=1)], token="forged")).status_code == 401
        assert fake_cluster.calls.count("review token") == 1


async def test_while_the_api_server_is_away_the_client_is_told_to_come_again(
    fake_cluster: FakeCluster, sqlite_url: str
) -> None:
    fake_cluster.add_run("trial")
    fake_cluster.away = True
    async with running_hub(fake_cluster, sqlite_url) as hub:
        answer = await hub.post("trial", [line(1, loss=1)])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        fake_cluster.away = False
        assert (await hub.post("trial", [line(1, loss=1)])).status_code == 200


class TestReading:
    async def test_whoever_may_get_experiments_there_reads(self, fake_cluster: FakeCluster, sqlite_url: str) -> None:
        async with running_hub(fake_cluster, sqlite_url) as hub:
            assert (await hub.get("sweeps")).status_code == 200

    @pytest.mark.parametrize("path", ["sweeps", "sweeps/a", "sweeps/a/experiments", "experiments", "experiments/a",
                                      "experiments/a/metrics", "experiments/a/metrics/loss"])  # fmt: skip
    async def test_nobody_else_does(self, fake_cluster: FakeCluster, sqlite_url: str, path: str) -> None:
        fake_cluster.add_run("trial")
        elsewhere = fake_cluster.add_reader("guest", namespace="elsewhere")
        async with running_hub(fake_cluster, sqlite_url) as hub:
            assert (await hub.get(path, token=None)).status_code == 401
            assert (await hub.get(path, token="forged")).status_code == 401
            answer = await hub.get(path, token=elsewhere)
            assert answer.status_code == 403
            assert "may not get experiments in namespace 'radiology'" in answer.json()["error"]["message"]
            # A training pod's token is for reporting only.
            assert (await hub.get(path, token="token-trial")).status_code == 401

    async def test_reading_can_be_left_to_a_proxy(self, fake_cluster: FakeCluster, sqlite_url: str) -> None:
        async with running_hub(fake_cluster, sqlite_url, read_auth="none") as hub:
            assert (await hub.get("sweeps", token=None)).status_code == 200
