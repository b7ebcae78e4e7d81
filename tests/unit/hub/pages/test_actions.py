"""Changes through a page: only with the person's own token, only where the API server says yes."""

from __future__ import annotations

import pytest

from tests.unit.hub.conftest import until
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep

CHANGE = f"/n/{NAMESPACE}/sweeps/sweep/change"


@pytest.fixture
async def changer(browser: Browser, fake_cluster: FakeCluster) -> Browser:
    fake_cluster.changers.add(("user-of-reader", "patch", "Sweep"))
    add_sweep(fake_cluster)
    await until(lambda: bool(browser.hub.app.state.hub.queries.catalogue.sweeps(NAMESPACE)))
    return browser


@pytest.mark.parametrize(
    ("form", "spec"),
    [
        ({"action": "suspend"}, {"suspend": True}),
        ({"action": "resume"}, {"suspend": False}),
        ({"action": "parallelism", "parallelism": "32"}, {"parallelism": 32}),
        ({"action": "parallelism", "parallelism": "0"}, {"parallelism": 0}),
    ],
    ids=["suspend", "resume", "parallelism", "drain"],
)
async def test_a_change_is_a_patch_in_the_persons_name(
    changer: Browser, fake_cluster: FakeCluster, form: dict[str, str], spec: dict[str, object]
) -> None:
    answer = await changer.client.post(CHANGE, data={**form, "csrf": await changer.csrf()})
    assert answer.status_code == 303
    assert fake_cluster.patched == [("user-of-reader", "Sweep", "sweep", {"spec": spec})]


@pytest.mark.parametrize(
    "text", ["", "-1", "1e3", "10001", "٣", "4;rm"], ids=["empty", "negative", "e", "large", "arabic", "more"]
)
async def test_a_parallelism_that_is_no_small_number_is_refused_before_it_is_sent(
    changer: Browser, fake_cluster: FakeCluster, text: str
) -> None:
    form = {"action": "parallelism", "parallelism": text, "csrf": await changer.csrf()}
    answer = await changer.client.post(CHANGE, data=form)
    assert answer.status_code == 400
    assert "a whole number from 0 to 10000" in answer.text
    assert fake_cluster.patched == []


async def test_a_change_without_the_pages_token_is_refused(changer: Browser, fake_cluster: FakeCluster) -> None:
    assert (await changer.client.post(CHANGE, data={"action": "suspend"})).status_code == 403
    assert fake_cluster.patched == []


async def test_a_change_of_a_namesake_made_meanwhile_is_refused(changer: Browser, fake_cluster: FakeCluster) -> None:
    form = {"action": "suspend", "uid": "an-earlier-one", "csrf": await changer.csrf()}
    answer = await changer.client.post(CHANGE, data=form)
    assert answer.status_code == 409
    assert fake_cluster.patched == []


async def test_who_may_not_change_sees_no_form_but_the_command_that_shows_why(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    add_sweep(fake_cluster)
    await until(lambda: bool(browser.hub.app.state.hub.queries.catalogue.sweeps(NAMESPACE)))
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert 'name="action"' not in page
    assert "kubectl auth can-i patch sweeps.orkhaven.io/sweep -n radiology" in page
    answer = await browser.client.post(CHANGE, data={"action": "suspend", "csrf": await browser.csrf()})
    assert answer.status_code == 403
    assert fake_cluster.patched == []


async def test_the_offered_form_stands_on_the_page_of_who_may(changer: Browser) -> None:
    page = (await changer.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert 'value="suspend"' in page
    assert 'name="parallelism"' in page


async def test_what_a_canary_holds_offers_to_go_on_without_it(changer: Browser, fake_cluster: FakeCluster) -> None:
    held = [{"type": "Suspended", "status": "True", "reason": "CanaryFailed", "message": "canary trial x failed"}]
    add_sweep(fake_cluster, status={"state": "Suspended", "conditions": held})
    await changer.hub.settled()
    page = (await changer.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert "canary trial x failed" in page
    assert 'value="resume"' in page
    await changer.client.post(CHANGE, data={"action": "resume", "csrf": await changer.csrf()})
    assert fake_cluster.patched[-1][-1] == {"spec": {"suspend": False, "canary": 0}}


async def test_what_has_stopped_itself_says_why_and_offers_to_go_on(
    changer: Browser, fake_cluster: FakeCluster
) -> None:
    held = {
        "type": "Suspended",
        "status": "True",
        "reason": "StoppedOnCluster",
        "message": "5 of the last 10 trials failed of DataError",
        "lastTransitionTime": "2026-09-01T10:00:00Z",
    }
    avoided = [{"node": "gpu-3", "reason": "GpuHardware", "experiments": 3}]
    add_sweep(fake_cluster, status={"state": "Running", "conditions": [held], "avoidedNodes": avoided})
    await changer.hub.settled()
    page = (await changer.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert "5 of the last 10 trials failed of DataError" in page
    assert "gpu-3 (GpuHardware)" in page
    assert 'value="resume"' in page
    await changer.client.post(CHANGE, data={"action": "resume", "csrf": await changer.csrf()})
    spec = fake_cluster.patched[-1][-1]["spec"]
    assert spec["suspend"] is False
    assert spec["failurePolicy"]["stopOnCluster"]["since"].endswith("Z")


async def test_a_pruned_trial_offers_to_go_on_and_a_failed_one_does_not(
    changer: Browser, fake_cluster: FakeCluster
) -> None:
    fake_cluster.changers.add(("user-of-reader", "patch", "Experiment"))
    for name, state in (("cut", "Pruned"), ("broken", "Failed")):
        fake_cluster.add_run(name, sweep="sweep")
        fake_cluster.finish(name)
        status = fake_cluster.objects["Experiment", NAMESPACE, name]["status"]
        status |= {"state": state, "message": "rung 5: 0.61 is below the median 0.7 of 12 trials"}
        fake_cluster.touch("Experiment", NAMESPACE, name)
    await changer.hub.settled()
    page = (await changer.get(f"/n/{NAMESPACE}/experiments/cut")).text
    assert "rung 5: 0.61 is below the median" in page
    assert 'value="resume"' in page
    assert 'name="action"' not in (await changer.get(f"/n/{NAMESPACE}/experiments/broken")).text
    form = {"action": "resume", "csrf": await changer.csrf()}
    await changer.client.post(f"/n/{NAMESPACE}/experiments/cut/change", data=form)
    assert fake_cluster.patched[-1][-1] == {"spec": {"prune": {"resume": True}}}


# --- cancel, and run again ---


async def test_cancel_deletes_that_very_sweep_in_the_persons_name(changer: Browser, fake_cluster: FakeCluster) -> None:
    form = {"action": "cancel", "csrf": await changer.csrf()}
    assert (await changer.client.post(CHANGE, data=form)).status_code == 403
    fake_cluster.changers.add(("user-of-reader", "delete", "Sweep"))
    answer = await changer.client.post(CHANGE, data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/n/{NAMESPACE}/sweeps")
    assert fake_cluster.removed == [("user-of-reader", "Sweep", "sweep")]


async def test_cancel_is_offered_only_to_who_may_delete(changer: Browser, fake_cluster: FakeCluster) -> None:
    assert 'value="cancel"' not in (await changer.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    fake_cluster.changers.add(("user-of-other", "delete", "Sweep"))
    fake_cluster.add_reader("other")
    await changer.login("other")
    page = (await changer.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert 'value="cancel"' in page
    assert 'value="suspend"' not in page


async def test_a_trial_that_its_sweep_would_make_again_is_not_cancelled(
    changer: Browser, fake_cluster: FakeCluster
) -> None:
    fake_cluster.changers.add(("user-of-reader", "delete", "Experiment"))
    fake_cluster.add_run("trial", sweep="sweep")
    await changer.hub.settled()
    form = {"action": "cancel", "csrf": await changer.csrf()}
    answer = await changer.client.post(f"/n/{NAMESPACE}/experiments/trial/change", data=form)
    assert answer.status_code == 409
    assert "would make it again" in answer.text
    assert 'value="cancel"' not in (await changer.get(f"/n/{NAMESPACE}/experiments/trial")).text
    assert fake_cluster.removed == []


@pytest.fixture
async def failed(changer: Browser, fake_cluster: FakeCluster) -> Browser:
    """A sweep with two causes of failure, one of them known by its cluster, and whoever may patch Sweeps."""
    clusters = [{"id": "c3f2a1", "reason": "CudaOutOfMemory", "count": 2}, {"reason": "Diverged", "count": 1}]
    reruns = [{"id": "before", "selected": 3, "created": 3, "succeeded": 2, "failed": 1, "message": "said so"}]
    add_sweep(fake_cluster, status={"state": "Running", "failureClusters": clusters, "reruns": reruns})
    await changer.hub.settled()
    return changer


RERUN = f"/n/{NAMESPACE}/sweeps/sweep/rerun"


async def test_the_failed_of_one_cause_are_run_again_as_the_person_and_a_second_click_does_nothing(
    failed: Browser, fake_cluster: FakeCluster
) -> None:
    page = (await failed.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert (page.count("Rerun these 2"), page.count("Rerun it")) == (1, 1)
    assert "said so" in page
    form = {"by": "cluster", "cluster": "c3f2a1", "memory": " 32Gi ", "image": "", "csrf": await failed.csrf()}
    answer = await failed.client.post(RERUN, data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/n/{NAMESPACE}/sweeps/sweep#failures")
    who, *_, body = fake_cluster.patched[-1]
    (entry,) = body["spec"]["rerun"]
    assert who == "user-of-reader"
    assert entry["select"] == {"clusters": ["c3f2a1"]}
    assert entry["overrides"] == {"resources": {"memory": "32Gi"}}
    assert entry["id"].startswith("c3f2a1-")
    assert body["metadata"]["resourceVersion"]
    patched = len(fake_cluster.patched)
    assert (await failed.client.post(RERUN, data=form)).status_code == 409
    assert len(fake_cluster.patched) == patched


async def test_a_cause_without_a_cluster_is_run_again_by_its_reason_from_the_start(
    failed: Browser, fake_cluster: FakeCluster
) -> None:
    form = {"by": "reason", "cluster": "Diverged", "scratch": "1", "csrf": await failed.csrf()}
    assert (await failed.client.post(RERUN, data=form)).status_code == 303
    (entry,) = fake_cluster.patched[-1][-1]["spec"]["rerun"]
    assert entry["select"] == {"reasons": ["Diverged"]}
    assert entry["fromCheckpoint"] is False


async def test_all_that_can_be_changed_is_laid_over_the_trials(failed: Browser, fake_cluster: FakeCluster) -> None:
    params = "batch_size=4  optimizer.lr=1e-4 loss.name=dice_ce  ema.decay=null data.windows=[[-1250,250]] x=NaN"
    form = {"by": "cluster", "cluster": "c3f2a1", "params": params, "sharedMemory": "4Gi", "image": "ctseg:1.5"}
    answer = await failed.client.post(RERUN, data={**form, "csrf": await failed.csrf()})
    assert answer.status_code == 303
    (entry,) = fake_cluster.patched[-1][-1]["spec"]["rerun"]
    assert entry["overrides"] == {
        "resources": {"sharedMemory": "4Gi"},
        "image": "ctseg:1.5",
        "params": {
            "batch_size": 4,
            "optimizer.lr": 1e-4,
            "loss.name": "dice_ce",
            "ema.decay": None,
            "data.windows": [[-1250, 250]],
            "x": "NaN",
        },
    }


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"cluster": "Timeout"}, 404, "No trial of sweep has failed by"),
        ({"memory": "much"}, 400, "overrides.resources.memory"),
        ({"image": "no spaces please"}, 400, "overrides.image"),
        ({"cluster": ""}, 400, "select.clusters[0]"),
        ({"params": "batch_size 4"}, 400, "parameters: &#39;batch_size&#39; should be name=value"),
    ],
    ids=["a cause that nobody died of", "no memory", "no image", "nothing", "no value"],
)
async def test_what_cannot_be_run_again_is_said(
    failed: Browser, fake_cluster: FakeCluster, change: dict[str, str], status: int, words: str
) -> None:
    form = {"by": "cluster", "cluster": "c3f2a1", "csrf": await failed.csrf(), **change}
    answer = await failed.client.post(RERUN, data=form)
    assert answer.status_code == status
    assert words in answer.text
    assert fake_cluster.patched == []


async def test_who_may_not_patch_the_sweep_cannot_run_again(failed: Browser, fake_cluster: FakeCluster) -> None:
    fake_cluster.changers.clear()
    form = {"by": "cluster", "cluster": "c3f2a1", "csrf": await failed.csrf()}
    assert (await failed.client.post(RERUN, data=form)).status_code == 403
    assert fake_cluster.patched == []
