"""The cluster tool keeps its promises: up and down may be repeated and interrupted, pods run, nothing is left over."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster, ClusterError, Mode
from tests.cluster.archive import TESTBOX_IMAGE, derive_image, images_in, write_image
from tests.cluster.processes import Processes
from tests.cluster.settings import read_place

PODS = "/api/v1/namespaces/default/pods"


def make_pod(name: str, *args: str, limits: dict[str, str] | None = None, **annotations: str) -> dict[str, Any]:
    container = {"name": "main", "image": TESTBOX_IMAGE, "args": list(args), "resources": {"limits": limits or {}}}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    metadata = {"name": name, "annotations": {f"orkhaven.io/{k.replace('_', '-')}": v for k, v in annotations.items()}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def wait_pod(cluster: Cluster, name: str, *phases: str, seconds: float = 30) -> dict[str, Any]:
    """The pod once it is in one of the phases."""
    deadline = time.monotonic() + seconds
    while True:
        pod: dict[str, Any] = cluster.api.call("GET", f"{PODS}/{name}")
        if pod["status"]["phase"] in phases:
            return pod
        assert time.monotonic() < deadline, f"{name} is not {phases} after {seconds} s: {json.dumps(pod['status'])}"
        time.sleep(0.1)


def run_pod(cluster: Cluster, name: str, *args: str, **more: Any) -> dict[str, Any]:
    """How the only container of the pod ended."""
    cluster.api.create(PODS, make_pod(name, *args, **more))
    pod = wait_pod(cluster, name, "Succeeded", "Failed")
    ended: dict[str, Any] = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return ended


def kill_everything(cluster: Cluster) -> None:
    for pid in cluster.processes().values():
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


def leftovers(cluster: Cluster) -> list[str]:
    """Whatever on this machine still bears the cluster's name."""
    found = [str(cluster.state)] if cluster.state.exists() else []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(cluster.state) in line or f"/run/orkhaven/{cluster.name}" in line:
            found.append(line)
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f"/orkhaven/{cluster.name}" in line]
    for pattern in (f"orkhaven/{cluster.name}", f"netns/orkhaven-{cluster.name}"):
        found += [str(path) for path in Path("/run").glob(pattern)]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/orkhaven-{cluster.name}")]
    octet = read_place(cluster.settings).get("octet")
    return found + ([f"ork{octet}"] if octet else [])


class TestProcesses:
    """What decides whether a recorded process is still ours."""

    @pytest.fixture
    def processes(self, tmp_path: Path) -> Iterator[Processes]:
        processes = Processes(tmp_path / "processes", tmp_path / "logs")
        yield processes
        for name in processes.names():
            processes.kill(name)

    def test_a_process_that_runs_is_found_by_another_instance(self, processes: Processes, tmp_path: Path) -> None:
        processes.start("sleeper", ["sleep", "60"])
        assert (
            Processes(tmp_path / "processes", tmp_path / "logs").pid("sleeper") == processes.pid("sleeper") is not None
        )

    def test_a_stranger_with_the_recorded_number_is_left_alone(self, processes: Processes, tmp_path: Path) -> None:
        processes.start("sleeper", ["sleep", "60"])
        file = tmp_path / "processes" / "sleeper.json"
        record = json.loads(file.read_text())
        file.write_text(json.dumps({**record, "ticks": record["ticks"] - 1}))
        assert processes.pid("sleeper") is None
        assert processes.send("sleeper", signal.SIGKILL) is False
        file.write_text(json.dumps(record))
        assert processes.pid("sleeper") == record["pid"]

    def test_the_same_command_keeps_the_process_and_another_one_replaces_it(self, processes: Processes) -> None:
        processes.start("sleeper", ["sleep", "60"])
        first = processes.pid("sleeper")
        processes.start("sleeper", ["sleep", "60"])
        assert processes.pid("sleeper") == first
        processes.start("sleeper", ["sleep", "61"])
        assert processes.pid("sleeper") not in (first, None)

    def test_a_process_that_has_ended_is_reported_with_the_end_of_its_log(self, processes: Processes) -> None:
        processes.start("talker", ["sh", "-c", "echo no such luck; exec sleep 60"])
        deadline = time.monotonic() + 10
        while not processes.log("talker").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        processes.kill("talker")
        with pytest.raises(ClusterError, match=r"talker has ended[\s\S]*no such luck"):
            processes.check()

    def test_a_process_that_ends_at_once_is_reported_by_the_start_or_by_the_next_check(
        self, processes: Processes
    ) -> None:
        with pytest.raises(ClusterError, match=r"talker (ended at once|has ended)"):  # noqa: PT012
            processes.start("talker", ["sh", "-c", "exit 1"])
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                processes.check()


class TestArchives:
    def test_a_written_image_is_read_back_by_name_and_is_the_same_each_time(self, tmp_path: Path) -> None:
        archives = [
            write_image(tmp_path / f"{n}.tar", name="some/image:1", files={"program": b"x"}, entrypoint=["/program"])
            for n in range(2)
        ]
        assert archives[0].read_bytes() == archives[1].read_bytes()
        (image,) = images_in(archives[0])
        assert image.name == "some/image:1"
        assert image.config.startswith("sha256:")

    def test_an_image_without_a_package_is_one_small_layer_on_top(self, tmp_path: Path) -> None:
        packages = ("scipy", "scipy_more", "a/scipy")
        files = {f"opt/lib/python3.13/site-packages/{name}/__init__.py": b"" for name in packages}
        base = write_image(tmp_path / "base.tar", name="some/image:1", files=files, entrypoint=["/program"])
        derived = derive_image(base, tmp_path / "derived.tar", name="some/image:2", without="scipy")
        assert [image.name for image in images_in(derived)] == ["some/image:2"]
        with tarfile.open(derived) as tar:

            def blob(digest: str) -> bytes:
                return (tar.extractfile("blobs/" + digest.replace(":", "/")) or io.BytesIO()).read()

            (index,) = json.load(tar.extractfile("index.json") or io.BytesIO())["manifests"]
            manifest = json.loads(blob(index["digest"]))
            below, top = (layer["digest"] for layer in manifest["layers"])
            assert "blobs/" + below.replace(":", "/") not in tar.getnames(), "the node has it"
            with tarfile.open(fileobj=io.BytesIO(blob(top))) as layer:
                assert layer.getnames() == ["opt/lib/python3.13/site-packages/.wh.scipy"]
            assert json.loads(blob(manifest["config"]["digest"]))["rootfs"]["diff_ids"] == [below, top]
        with pytest.raises(ClusterError, match="no Python package 'torch'"):
            derive_image(base, tmp_path / "none.tar", name="some/image:3", without="torch")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "no such image archive"),
            (b"not a tar file", "broken image archive"),
            (b"\0" * 10240, "neither an OCI"),
        ],
        ids=["missing", "garbage", "empty"],
    )
    def test_what_is_no_archive_is_refused_with_its_path(
        self, tmp_path: Path, content: bytes | None, message: str
    ) -> None:
        path = tmp_path / "image.tar"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ClusterError, match=message) as caught:
            images_in(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a/b", "-a", "x" * 33])
def test_a_name_that_can_not_be_a_folder_or_a_namespace_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="cluster name"):
        Cluster(name, mode="control-plane")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A control plane without a node."""
    cluster = Cluster("tool-plane", mode="control-plane")
    cluster.down()
    yield cluster.up()
    cluster.down()


@pytest.mark.cluster
class TestControlPlane:
    """The mode that needs no root; it runs everywhere."""

    def test_up_again_touches_nothing_that_runs(self, cluster: Cluster) -> None:
        before = cluster.processes()
        Cluster(cluster.name).up()
        assert cluster.processes() == before
        assert cluster.problems() == []

    def test_up_after_a_kill_of_everything_finds_its_objects_again(self, cluster: Cluster) -> None:
        cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        kill_everything(cluster)
        assert cluster.problems()
        cluster.up()
        assert cluster.problems() == []
        assert cluster.kubectl("get", "configmap", "kept", "--output=jsonpath={.data.a}") == "b"

    def test_the_api_server_goes_and_comes_back(self, cluster: Cluster) -> None:
        cluster.kill("kube-apiserver")
        assert not cluster.api.ready()
        cluster.restart("kube-apiserver")
        assert cluster.api.ready()
        with pytest.raises(ClusterError, match="no process 'kube-api'; there are: etcd, kube-apiserver"):
            cluster.kill("kube-api")

    def test_a_token_for_another_audience_is_reviewed(self, cluster: Cluster) -> None:
        token = cluster.kubectl("create", "token", "default", "--audience=somebody")
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token.strip(), "audiences": ["somebody"]},
        }
        answer = cluster.api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        assert answer["status"]["authenticated"] is True
        review["spec"] = {"token": token.strip(), "audiences": ["nobody"]}
        answer = cluster.api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        assert not answer["status"].get("authenticated")

    def test_pods_run_on_nodes_that_only_the_api_knows(self, cluster: Cluster) -> None:
        assert cluster.add_kwok_nodes(2, gpus_each=1, runs_ms=100) == ["kwok-0", "kwok-1"]
        gpu = {"nvidia.com/gpu": "1"}
        assert run_pod(cluster, "good", limits=gpu)["exitCode"] == 0
        bad = make_pod("bad", limits=gpu, kwok_exit_code="65", kwok_message='{"reason": "DataError"}')
        cluster.api.create(PODS, bad)
        ended = wait_pod(cluster, "bad", "Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (ended["exitCode"], ended["message"]) == (65, '{"reason": "DataError"}')

    def test_another_mode_for_a_cluster_that_is_there_is_refused(self, cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match="is there in mode control-plane, not bare: take it down first"):
            Cluster(cluster.name, mode="bare")

    def test_down_leaves_nothing_and_may_be_repeated(self, cluster: Cluster) -> None:
        cluster.down()
        assert leftovers(cluster) == []
        cluster.down()
        with pytest.raises(ClusterError, match="no cluster 'tool-plane' is up here"):
            Cluster.existing(cluster.name)


@pytest.fixture(scope="module")
def node() -> Iterator[Cluster]:
    """A cluster whose node really runs containers."""
    cluster = Cluster("tool-node")
    if not cluster.has_node:
        pytest.skip("no node here: neither does a Docker engine answer nor is this root")
    cluster.down()
    yield cluster.up()
    cluster.down()


@pytest.mark.cluster
@pytest.mark.node
class TestNode:
    @pytest.fixture(autouse=True)
    def image(self, node: Cluster, tmp_path: Path) -> None:
        if node.mode is Mode.KIND:
            pytest.skip("the image of these tests is made for the bare mode only")

    def test_a_pod_gets_the_gpu_it_asks_for(self, node: Cluster) -> None:
        ended = run_pod(node, "one-gpu", "exit", "3", limits={"nvidia.com/gpu": "1"})
        assert (ended["exitCode"], ended["reason"]) == (3, "Error")

    def test_a_pod_that_wants_more_gpus_than_there_are_waits(self, node: Cluster) -> None:
        node.api.create(PODS, make_pod("too-many", "pause", limits={"nvidia.com/gpu": "3"}))
        node.kubectl("wait", "--for=condition=PodScheduled=false", "pod/too-many", "--timeout=20s")
        assert "Insufficient nvidia.com/gpu" in node.kubectl("get", "pod", "too-many", "--output=yaml")
        node.kubectl("delete", "pod", "too-many", "--wait=false")

    def test_a_pod_beyond_its_memory_limit_is_killed(self, node: Cluster) -> None:
        ended = run_pod(node, "greedy", "allocate", "256", limits={"memory": "64Mi"})
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)

    def test_a_pod_finds_services_by_name_and_reaches_pods_behind_them(self, node: Cluster) -> None:
        web = make_pod("web", "serve", ":8080")
        web["metadata"]["labels"] = {"run": "web"}
        node.api.create(PODS, web)
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "site"},
            "spec": {"selector": {"run": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
        node.api.create("/api/v1/namespaces/default/services", service)
        node.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
        questions = {
            "asks-short": ("resolve", "site"),
            "asks-api": ("dial", "kubernetes.default.svc.cluster.local:443"),
            "asks-site": ("dial", "site.default:80"),
            "asks-nobody": ("resolve", "nobody.default"),
        }
        for name, arguments in questions.items():
            node.api.create(PODS, make_pod(name, *arguments))
        phases = {name: wait_pod(node, name, "Succeeded", "Failed")["status"]["phase"] for name in questions}
        assert phases == {name: "Failed" if name == "asks-nobody" else "Succeeded" for name in questions}

    def test_logs_and_exec_reach_the_container(self, node: Cluster) -> None:
        run_pod(node, "speaker", "print", "hello", "there")
        assert node.kubectl("logs", "speaker") == "hello there\n"
        node.api.create(PODS, make_pod("listener", "pause"))
        node.kubectl("wait", "--for=condition=Ready", "pod/listener", "--timeout=20s")
        assert node.kubectl("exec", "listener", "--", "/testbox", "print", "inside") == "inside\n"

    def test_gpus_survive_a_kubelet_that_was_killed(self, node: Cluster) -> None:
        node.kill("kubelet")
        node.restart("kubelet")
        found = node.api.call("GET", f"/api/v1/nodes/{node.node_name}")
        assert found["status"]["allocatable"]["nvidia.com/gpu"] == "2"
        assert found["metadata"]["labels"]["nvidia.com/gpu.memory"] == "40960"

    def test_an_image_is_loaded_once(self, node: Cluster, tmp_path: Path) -> None:
        archive = write_image(tmp_path / "a.tar", name="test/a:1", files={"a": b"1"}, entrypoint=["/a"])
        assert node.load(archive) == ["test/a:1"]
        assert node.load(archive) == []
        changed = write_image(tmp_path / "a.tar", name="test/a:1", files={"a": b"2"}, entrypoint=["/a"])
        assert node.load(changed) == ["test/a:1"]
        assert ("test/a:1", images_in(changed)[0].config) in node.images()

    def test_a_second_cluster_lives_beside_the_first(self, node: Cluster) -> None:
        other = Cluster("tool-other", mode=node.mode, gpus=5)
        try:
            other.up()
            assert run_pod(other, "elsewhere", "exit", "0", limits={"nvidia.com/gpu": "5"})["exitCode"] == 0
            assert "elsewhere" not in node.kubectl("get", "pods", "--output=name")
        finally:
            other.down()
        assert leftovers(other) == []
        assert node.problems() == []
        assert run_pod(node, "still-here", "exit", "0")["exitCode"] == 0

    def test_up_after_a_kill_of_everything_runs_pods_again(self, node: Cluster) -> None:
        node.api.create(PODS, make_pod("survivor", "pause"))
        node.kubectl("wait", "--for=condition=Ready", "pod/survivor", "--timeout=20s")
        kill_everything(node)
        node.up()
        assert node.problems() == []
        # Its container was no process of the tool: it went on, and the new kubelet found it.
        survivor = wait_pod(node, "survivor", "Running")
        assert survivor["status"]["containerStatuses"][0]["restartCount"] == 0
        assert run_pod(node, "afterwards", "exit", "0", limits={"nvidia.com/gpu": "2"})["exitCode"] == 0

    def test_status_and_env_say_what_a_person_needs(self, node: Cluster) -> None:
        def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = ["python3", "-m", "tests.cluster", *arguments, "--name", node.name]
            root = Path(__file__).parents[2]
            return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)

        status = tool("status")
        assert status.returncode == 0, status.stdout
        assert "2 x NVIDIA-A100-SXM4-40GB of 40960 MiB" in status.stdout
        assert f"KUBECONFIG={node.kubeconfig}" in tool("env").stdout
        node.kill("coredns")
        status = tool("status")
        assert status.returncode == 1
        assert "coredns has ended" in status.stdout
        node.restart("coredns")

    def test_down_leaves_nothing_with_pods_still_running_and_may_be_repeated(self, node: Cluster) -> None:
        node.down()
        assert leftovers(node) == []
        node.down()
        assert leftovers(node) == []
