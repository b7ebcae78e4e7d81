"""`make demo`: from nothing to a leaderboard, on this machine. `up`, `env`, `down`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from images import ImageError
from tests.cluster import Cluster, ClusterError
from tools.deploy import ROOT, DeployError, Deployment, wait_until

NAME = "orkhaven-demo"
NAMESPACE = "radiology"
QUICKSTART = ROOT / "examples" / "quickstart.yaml"
TIMEOUT_S = 1800

console = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up_parser = verbs.add_parser("up", help="cluster, images, chart, data, sweep, leaderboard")
    up_parser.add_argument("--data", default="", help="a COVID-SemiSeg folder; default: a generated phantom")
    verbs.add_parser("env", help="shell lines for eval: KUBECONFIG, PATH")
    verbs.add_parser("down", help="remove the cluster and all it made")
    arguments = parser.parse_args()
    try:
        sys.exit(_run(arguments))
    except (ClusterError, DeployError, ImageError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.verb == "up":
        return up(arguments.data)
    if arguments.verb == "env":
        print(Cluster.existing(NAME).shell_lines())
    else:
        _cluster().down()
    return 0


def up(data: str) -> int:
    started = time.monotonic()
    folder = _data_folder(data)
    if folder is not None and not folder.is_dir():
        console.print(f"[red]DATA={data}: there is no such folder.[/] Name a COVID-SemiSeg folder, or none at all.")
        return 2
    cluster = _cluster()
    _say("a Kubernetes of our own")
    cluster.up()
    if not cluster.has_node:
        console.print(
            "[red]This machine can run the control plane, but no containers.[/] "
            "The demo needs root on a Debian-like Linux, or a Docker engine (then it uses kind)."
        )
        return 2
    deployment = Deployment(cluster=cluster, say=_say)
    _say("images: operator, trainer-cpu")
    deployment.images()
    _say("the chart, by helm")
    deployment.install()
    if folder is None:
        folder = cluster.shared / "phantom"
        if not (folder / "patients.csv").exists():
            _say("data: a phantom of 8 patients")
            size = ["--patients", "8", "--slices", "6", "--size", "128", "--seed", "7"]
            command = [sys.executable, "-m", "ctseg", "phantom", str(folder), *size]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    else:
        _say(f"data: {folder}")
    deployment.namespace(NAMESPACE, data=folder, results=cluster.shared / "results")
    cluster.kubectl("config", "set-context", "--current", f"--namespace={NAMESPACE}")
    _say(f"kubectl apply -f {QUICKSTART.relative_to(ROOT)}")
    cluster.kubectl("apply", "-n", NAMESPACE, "-f", str(QUICKSTART))
    sweep = _watch(deployment, "quickstart")
    _report(sweep)
    console.print(f"\n[dim]{_minutes(time.monotonic() - started)} in all. The cluster stays up.[/]")
    console.print(_next_steps(sweep))
    return 0 if sweep["status"]["state"] == "Succeeded" else 1


def _cluster() -> Cluster:
    return Cluster(NAME, gpus=2)


def _data_folder(data: str) -> Path | None:
    return Path(data).expanduser().resolve() if data else None


def _say(text: str) -> None:
    console.print(f"[bold]==>[/] {text}")


def _watch(deployment: Deployment, name: str) -> dict[str, Any]:
    """The table of the sweep and its trials, once a second, until the sweep is finished."""
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:

        def look() -> dict[str, Any] | None:
            sweep = deployment.get("sweep", name, "-n", NAMESPACE)
            trials = deployment.get("experiments", "-n", NAMESPACE, "-l", f"orkhaven.io/sweep={name}")["items"]
            live.update(Group(_sweep_table(sweep), _trial_table(trials)))
            return sweep if _condition(sweep, "Finished") == "True" else None

        finished: dict[str, Any] = wait_until(f"sweep {name} to finish", look, timeout_s=TIMEOUT_S, interval_s=1)
    return finished


def _condition(resource: dict[str, Any], kind: str) -> str | None:
    conditions = resource.get("status", {}).get("conditions", [])
    return next((c["status"] for c in conditions if c["type"] == kind), None)


def _sweep_table(sweep: dict[str, Any]) -> Table:
    status = sweep.get("status", {})
    trials = status.get("trials", {})
    table = Table(box=None, pad_edge=False)
    for column in ("SWEEP", "STATE", "PROGRESS", "RUNNING", "FAILED", "BEST"):
        table.add_column(column)
    table.add_row(
        sweep["metadata"]["name"],
        status.get("state", "Pending"),
        status.get("progress", ""),
        str(trials.get("running", 0)),
        str(trials.get("failed", 0)),
        _number(status.get("best", {}).get("value")),
    )
    return table


def _trial_table(trials: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("EXPERIMENT", "ARCHITECTURE", "LOSS", "STATE", "STEP", "OBJECTIVE", "WHY"):
        table.add_column(column, no_wrap=column != "WHY")
    colours = {"Succeeded": "green", "Failed": "red", "Running": "cyan"}
    for trial in sorted(trials, key=lambda t: int(t["metadata"]["labels"].get("orkhaven.io/trial", 0))):
        status, params = trial.get("status", {}), trial["spec"]["params"]
        state = status.get("state", "")
        progress = status.get("progress", {})
        why = status.get("message", "") if state in ("Failed", "Queued") else ""
        table.add_row(
            trial["metadata"]["name"],
            params["model"]["architecture"],
            params["loss"]["name"],
            Text(state, style=colours.get(state, "")),
            f"{progress['step']}/{progress.get('totalSteps', '?')}" if progress else "",
            _number(status.get("objective", {}).get("value")),
            Text(f"{status.get('reason', '')}: {why}" if why else "", overflow="ellipsis", no_wrap=True),
        )
    return table


def _report(sweep: dict[str, Any]) -> None:
    status = sweep["status"]
    board = Table(title="Leaderboard", title_justify="left", box=None, pad_edge=False)
    names = list(dict.fromkeys(name for row in status.get("leaderboard", []) for name in row.get("params", {})))
    for column in ("", sweep["spec"]["objective"]["metric"], "step", *names, "experiment"):
        board.add_column(column)
    for place, row in enumerate(status.get("leaderboard", []), 1):
        values = (str(row.get("params", {}).get(name, "")) for name in names)
        board.add_row(str(place), _number(row["value"]), str(row.get("step", "")), *values, row["experiment"])
    console.print()
    console.print(board)
    for cluster in status.get("failureClusters", []):
        trials = "trial" if cluster["count"] == 1 else "trials"
        console.print(
            f"\n[red]{cluster['count']} {trials} failed: {cluster['reason']}[/]  ({', '.join(cluster['samples'])})"
        )
        console.print(f"  {cluster['message']}", markup=False)
        console.print(f"  What to do: {cluster['suggestion']}", markup=False)


def _next_steps(sweep: dict[str, Any]) -> str:
    samples = [name for cluster in sweep["status"].get("failureClusters", []) for name in cluster["samples"]]
    lines = [
        "\n[bold]What to try next[/]",
        '  eval "$(make -s demo-env)"                        # kubectl and the kubeconfig of this cluster',
        "  kubectl get sweeps,experiments -o wide",
        "  kubectl explain sweep.spec --recursive",
    ]
    if samples:
        lines.append(f"  kubectl describe experiment {samples[0]}")
        lines.append(f"  kubectl logs job/{samples[0]}-1")
    lines += [
        "  kubectl apply -f examples/random-search.yaml      # a larger search",
        "  make demo-down                                    # removes everything",
    ]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


if __name__ == "__main__":
    main()
