"""The command line: `python3 -m tests.cluster up | down | load | status | env | kubectl | programs | clean-cache`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.cluster import programs
from tests.cluster.cluster import Cluster
from tests.cluster.say import ClusterError, say
from tests.cluster.settings import Mode, clusters_folder


def main(argv: list[str]) -> int:
    """Exit code 0: done and all well; 1: not, and a line says why; 2: wrong arguments."""
    if argv[:1] == ["kubectl"]:
        # Its own flags are kubectl's, so the parser below must not see them.
        return _kubectl(argv[1:])
    options = _parser().parse_args(argv)
    try:
        result: int = options.run(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=os.environ.get("ORKHAVEN_CLUSTER", "orkhaven"), help="default: %(default)s")

    up = verbs.add_parser("up", parents=[named], help="bring a cluster up, or what of it is missing")
    up.add_argument(
        "--mode", default="auto", choices=["auto", *Mode], help="default: the best that this machine can do"
    )
    up.add_argument("--gpus", type=int, default=2, help="how many GPUs the node offers (default: %(default)s)")
    up.add_argument("--gpu-model", default="NVIDIA-A100-SXM4-40GB", help="default: %(default)s")
    up.add_argument("--gpu-memory", type=int, default=40960, metavar="MIB", help="of each GPU (default: %(default)s)")
    up.add_argument(
        "--control-plane",
        choices=["tuned", "default"],
        default="tuned",
        help="request limits of controller-manager and scheduler: lifted, or Kubernetes' own of 20 a second",
    )
    up.set_defaults(run=_up)

    down = verbs.add_parser("down", parents=[named], help="remove a cluster and everything in it")
    down.add_argument("--all", action="store_true", help="every cluster of this user")
    down.set_defaults(run=_down)

    load = verbs.add_parser("load", parents=[named], help="make the images of OCI or docker archives known to the node")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    load.set_defaults(run=_load)

    status = verbs.add_parser("status", parents=[named], help="what runs; exit code 1 where something does not")
    status.set_defaults(run=_status)

    env = verbs.add_parser("env", parents=[named], help='for the shell: eval "$(python3 -m tests.cluster env)"')
    env.set_defaults(run=_env)

    ready = verbs.add_parser("programs", parents=[named], help="build what a cluster runs, where it is missing")
    ready.set_defaults(run=_programs)

    clean = verbs.add_parser("clean-cache", help="remove the Go caches that building has left")
    clean.add_argument("--all", action="store_true", help="the built programs and the Go toolchain too")
    clean.set_defaults(run=_clean)

    # Only for the list of verbs in --help; main() takes it before the parser does.
    verbs.add_parser("kubectl", help="kubectl [--name NAME] ARGUMENTS..., as administrator")
    return parser


def _up(options: argparse.Namespace) -> int:
    Cluster(
        options.name,
        mode=options.mode,
        gpus=options.gpus,
        gpu_model=options.gpu_model,
        gpu_memory=options.gpu_memory,
        tuned=options.control_plane == "tuned",
    ).up()
    return 0


def _down(options: argparse.Namespace) -> int:
    names = [options.name]
    if options.all:
        names = sorted(path.name for path in clusters_folder().glob("*") if path.is_dir())
    for name in names:
        Cluster(name).down()
    return 0


def _load(options: argparse.Namespace) -> int:
    cluster = Cluster.existing(options.name)
    for archive in options.archives:
        new = cluster.load(archive)
        say(f"{archive.name}: loaded {', '.join(new)}" if new else f"{archive.name}: was there already")
    return 0


def _status(options: argparse.Namespace) -> int:
    cluster = Cluster.existing(options.name)
    problems = cluster.problems()
    rows = [("cluster", cluster.name), ("mode", cluster.mode), ("kubeconfig", str(cluster.kubeconfig))]
    rows += [("logs", str(cluster.state / "logs"))]
    if cluster.api.ready():
        for node in cluster.api.call("GET", "/api/v1/nodes")["items"]:
            status, labels = node["status"], node["metadata"]["labels"]
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
            gpus = f"{status['allocatable'].get('nvidia.com/gpu', '0')} x {labels.get('nvidia.com/gpu.product', 'GPU')}"
            memory = labels.get("nvidia.com/gpu.memory")
            text = f"{node['metadata']['name']}  {'ready' if ready else 'NOT READY'}  {gpus}"
            rows.append(("node", text + (f" of {memory} MiB" if memory else "")))
            if not ready:
                problems.append(f"node {node['metadata']['name']} is not ready")
    for name, pid in cluster.processes().items():
        rows.append(("process", f"{name:<24} {pid if pid is not None else 'ENDED'}"))
    for image, digest in cluster.images():
        rows.append(("image", f"{image}  {digest[7:19]}"))
    rows.append(("state", "; ".join(problems) if problems else "all well"))
    for key, value in rows:
        print(f"{key:<11} {value}")
    return 1 if problems else 0


def _env(options: argparse.Namespace) -> int:
    print(Cluster.existing(options.name).shell_lines())
    return 0


def _programs(options: argparse.Namespace) -> int:
    for name, path in Cluster(options.name).build_programs().items():
        print(f"{name:<24} {path}")
    return 0


def _kubectl(arguments: list[str]) -> int:
    name = os.environ.get("ORKHAVEN_CLUSTER", "orkhaven")
    if arguments[:1] == ["--name"] and len(arguments) > 1:
        name, arguments = arguments[1], arguments[2:]
    try:
        cluster = Cluster.existing(name)
        program = cluster.programs["kubectl"]
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    env = {**os.environ, "KUBECACHEDIR": cluster.env()["KUBECACHEDIR"]}
    os.execve(program, ["kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments], env)


def _clean(options: argparse.Namespace) -> int:
    for path in programs.clean(everything=options.all):
        say(f"removed {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
