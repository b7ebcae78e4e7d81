"""The verbs: arguments, options, help. What each does is imported when it is called, so that start-up stays short."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orkhaven.cli.session import Session, takes

app = typer.Typer(
    name="kubectl ork",
    help="Sweeps of GPU training jobs: submit them, see them, steer them, explain their failures.",
    epilog="Exit codes: 0 well, 1 not, 2 wrong usage, 3 it ended, but with failures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a Sweep.")]
ExperimentName = Annotated[str, typer.Argument(metavar="XP", help="Name of an Experiment.")]
AnyName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A Sweep's or an Experiment's; sweep/NAME or xp/NAME where both are there."),
]
Files = Annotated[list[str], typer.Argument(metavar="FILE", help="YAML or JSON; - reads standard input.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE[,VALUE]", help="One value fixes a parameter, several are searched. Repeatable."
    ),
]


@app.command(short_help="Apply sweeps and runs; says first what is new")
@takes("cluster")
def submit(
    session: Session,
    files: Files,
    settings: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="The API server checks all of it and keeps nothing.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Wait for the end, and tell what happens.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Take over fields that another tool has set.")] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Ask the trainer's own model about the parameters first.")
    ] = True,
) -> int:
    """Apply Sweeps and Experiments, unless the trainer would refuse their parameters; says first how many trials that
    makes, and how many of them are new.
    """
    from orkhaven.cli import submit as does

    return does.submit(
        session,
        files,
        settings=settings or [],
        dry_run=dry_run,
        watch=watch,
        force=force,
        check_params=check,
    )


@app.command(short_help="Progress of sweeps, or of one")
@takes("cluster", "list", "output")
def status(
    session: Session,
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="Default: all of the namespace.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it; with SWEEP, until it has ended.")
    ] = False,
) -> int:
    """Sweeps, or one of them: progress, best value, failures, GPU-hours."""
    from orkhaven.cli import status as does

    return does.status(session, sweep, watch=watch)


@app.command(short_help="Leaderboard of a sweep")
@takes("cluster", "output", "hub")
def top(
    session: Session,
    sweep: SweepName,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Rank by this metric, not by the objective.")
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="EXPRESSION",
            help='Such as: params.optimizer.lr < 1e-3 and state == "Succeeded"',
        ),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column to sort by; -COLUMN from large to small.")
    ] = None,
    count: Annotated[int, typer.Option("-k", "--count", metavar="N", min=1, max=100_000, help="Rows.")] = 10,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it until the sweep has ended.")] = False,
) -> int:
    """The leaderboard of a sweep."""
    from orkhaven.cli import top as does

    asked = does.Asked(metric=metric, expression=filter_, sort=sort, count=count)
    return does.top(session, sweep, asked, watch=watch)


@app.command(short_help="Why trials of a sweep failed, by cause")
@takes("cluster", "output")
def failures(session: Session, sweep: SweepName) -> int:
    """What a sweep's trials died of, by cause: how many, which, what to do about it."""
    from orkhaven.cli import trouble as does

    return does.failures(session, sweep)


@app.command(short_help="Log of a run, also after its pod is gone")
@takes("cluster", "hub")
def logs(
    session: Session,
    experiment: ExperimentName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is written from now on.")] = False,
    attempt: Annotated[int | None, typer.Option(metavar="N", min=1, help="Default: the latest.")] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Only lines that match; exit code 1 where none does.")
    ] = None,
    tail: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the last so many lines.")] = None,
) -> int:
    """The log of a run: of its pod while that is there, else what the hub has kept."""
    from orkhaven.cli import logs as does

    return does.logs(session, experiment, follow=follow, attempt=attempt, grep=grep, tail=tail)


@app.command(short_help="All about a run")
@takes("cluster", "output")
def describe(session: Session, experiment: ExperimentName) -> int:
    """All about a run: parameters, attempts, metrics, failure, Events."""
    from orkhaven.cli import describe as does

    return does.describe(session, experiment)


@app.command(short_help="What differs between two runs")
@takes("cluster", "output")
def diff(
    session: Session,
    one: Annotated[str, typer.Argument(metavar="A", help="Name of an Experiment.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Name of another.")],
) -> int:
    """What differs between two runs: parameters, spec, results."""
    from orkhaven.cli import describe as does

    return does.diff(session, one, other)


@app.command(short_help="Why a run waits or has failed, and what to do")
@takes("cluster", "output")
def why(session: Session, experiment: ExperimentName) -> int:
    """Why a run waits, or why it failed, and what to do about it."""
    from orkhaven.cli import trouble as does

    return does.why(session, experiment)


@app.command(short_help="Runs that wait for GPUs, in order")
@takes("cluster", "list", "output")
def queue(session: Session) -> int:
    """What waits for GPUs, in the queue's order by namespace: for how many, since when, for whom, and why."""
    from orkhaven.cli import queue as does

    return does.queue(session)


@app.command(short_help="Nodes with GPUs, and who holds them")
@takes("cluster", "output")
def gpus(session: Session) -> int:
    """Nodes with GPUs of the whole cluster: how many are free, who holds the others, since when."""
    from orkhaven.cli import gpus as does

    return does.gpus(session)


@app.command(short_help="Wait for the end of a sweep or a run")
@takes("cluster")
def wait(
    session: Session,
    name: AnyName,
    condition: Annotated[
        str,
        typer.Option(
            "--for", metavar="CONDITION", help="Condition that has to be True: Finished, Running, Suspended, ..."
        ),
    ] = "Finished",
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Such as 90s, 30m, 24h; 0: as long as it takes.")] = "0",
) -> int:
    """Wait for the end of a sweep or a run. Exit code 3 where it ended with failures, 1 where the time was over."""
    from orkhaven.cli import wait as does

    return does.wait(session, name, condition=condition, timeout=timeout)


@app.command(short_help="End and remove a sweep or a run")
@takes("cluster")
def cancel(
    session: Session,
    name: AnyName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """End and remove a sweep or a run. Results on the output volume and what the hub has kept stay."""
    from orkhaven.cli import steer as does

    return does.cancel(session, name, yes=yes)


@app.command(short_help="Save checkpoints, give the GPUs back")
@takes("cluster")
def suspend(session: Session, name: AnyName) -> int:
    """Save checkpoints and give the GPUs back; `resume` goes on from there."""
    from orkhaven.cli import steer as does

    return does.suspend(session, name, held=True)


@app.command(short_help="Go on with what was suspended, or stopped early")
@takes("cluster")
def resume(session: Session, name: AnyName) -> int:
    """Go on with what was suspended, or with a trial that early stopping has ended."""
    from orkhaven.cli import steer as does

    return does.suspend(session, name, held=False)


@app.command(short_help="Failed trials, or one run, once more")
@takes("cluster")
def rerun(
    session: Session,
    name: AnyName,
    cluster: Annotated[
        list[str] | None,
        typer.Option("--cluster", metavar="ID", help="Of a sweep: trials of this cluster of failures."),
    ] = None,
    reason: Annotated[
        list[str] | None,
        typer.Option("--reason", metavar="REASON", help="Of a sweep: trials that failed for this reason."),
    ] = None,
    names: Annotated[list[str] | None, typer.Option("--name", metavar="XP", help="Of a sweep: this trial.")] = None,
    match: Annotated[
        list[str] | None,
        typer.Option("--match", metavar="NAME=VALUE[,VALUE]", help="Of a sweep: trials with one of these values."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter, or resources.memory and the like."),
    ] = None,
    image: Annotated[str | None, typer.Option(metavar="IMAGE", help="With another image.")] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="With this environment variable.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="From the start. Default: the same run goes on from its checkpoint.")
    ] = False,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="Of a single run: another seed.")] = None,
    new_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a single run: its name. Default: with -r and a number.")
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Of a sweep: what the rerun is called; done once.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be made, and make nothing.")] = False,
) -> int:
    """Failed trials of a sweep once more, each in its place, with what is to change; all of them where nothing is
    selected. Of a single Experiment: a new one beside it.
    """
    from orkhaven.cli import rerun as does

    asked = does.Asked(
        clusters=cluster or [],
        reasons=reason or [],
        names=names or [],
        match=match or [],
        settings=settings or [],
        image=image,
        env=env or [],
        from_scratch=from_scratch,
        seed=seed,
        new_name=new_name,
        id=id_,
        dry_run=dry_run,
    )
    return does.rerun(session, name, asked)


@app.command(short_help="A shell where a run has failed")
@takes("cluster")
def debug(
    session: Session,
    experiment: ExperimentName,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="The pod is removed then, such as 30m or 4h (24h at most).")
    ] = "1h",
    gpu: Annotated[bool, typer.Option("--gpu", help="With the run's GPUs, past the queue.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="The pod outlives the shell, until its time is over.")] = False,
) -> int:
    """A shell in a pod like the run's: its image, node, parameters, data and environment; its last words first. It is
    no attempt, and what the run has written can only be read.
    """
    from orkhaven.cli import debug as does

    return does.debug(session, experiment, timeout=timeout, gpu=gpu, keep=keep)


@app.command(short_help="All trials of a sweep as CSV, JSON or LaTeX")
@takes("cluster", "output", "hub")
def export(
    session: Session,
    sweep: SweepName,
    curves: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Every point of this metric instead, a row each.")
    ] = None,
) -> int:
    """Every trial of a sweep with parameters and results: -o csv, json, yaml or latex."""
    from orkhaven.cli import top as does

    return does.export(session, sweep, curves=curves)


@app.command(short_help="Open the hub's pages in the browser")
@takes("cluster", "hub", early=False)
def dashboard(
    session: Session,
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="Open its page.")] = None,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port on this machine; 0: any that is free.")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the browser, or only print the address.")
    ] = True,
) -> int:
    """Forward the hub's pages to this machine and open them in the browser, logged in, until Ctrl-C."""
    from orkhaven.cli import dashboard as does

    return does.dashboard(session, sweep, port=port, browser=browser)


@app.command(short_help="Where the GPU-hours went")
@takes("cluster", "output", "hub")
def usage(
    session: Session,
    by: Annotated[
        str | None, typer.Option(metavar="WHAT", help="user (default), sweep, model, cause or namespace.")
    ] = None,
    since: Annotated[str, typer.Option(metavar="SPAN", help="7d, 4w or a day such as 2026-11-30, in UTC.")] = "30d",
    until: Annotated[str | None, typer.Option(metavar="DAY", help="The last day that counts. Default: today.")] = None,
    per: Annotated[str | None, typer.Option(metavar="PERIOD", help="A row for each day, week or month.")] = None,
    everywhere: Annotated[bool, typer.Option("-A", "--all-namespaces", help="Of all that you may read.")] = False,
) -> int:
    """GPU-hours by person, sweep, GPU model, cause or namespace, and what came of them; from the hub."""
    from orkhaven.cli import usage as does

    return does.usage(session, by=by, since=since, until=until, per=per, everywhere=everywhere)


@app.command(short_help="Check files without a cluster")
@takes("output")
def lint(
    session: Session,
    files: Files,
    settings: Set = None,
    most: Annotated[
        int, typer.Option("--max-trials", metavar="N", min=1, help="Trials of a sweep whose parameters are checked.")
    ] = 1000,
) -> int:
    """Check files without a cluster: the schema, then each trial's parameters by the trainer's own model."""
    from orkhaven.cli import lint as does

    return does.lint(session, files, settings=settings or [], most=most)


@app.command("import-haven", short_help="Take over results of Haven")
@takes("cluster", "output", early=False)
def import_haven(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A savedir: a folder of folders with exp_dict.json.")],
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="The objective: a key of score_list.pkl, such as val_dice.")
    ] = None,
    minimize: Annotated[bool, typer.Option("--minimize", help="The smaller value is the better one.")] = False,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Names are PREFIX-<start of Haven's id>.")] = "haven",
    apply: Annotated[
        bool, typer.Option("--apply", help="Make the Experiments. Default: show what would be made.")
    ] = False,
) -> int:
    """Haven's results as finished Experiments. Its pickles are read by a reader that runs nothing."""
    from orkhaven.cli import haven as does

    return does.import_haven(session, folder, metric=metric, minimize=minimize, prefix=prefix, apply=apply)


@app.command(short_help="Versions of client, cluster, operator and hub")
@takes("cluster", "output", "hub", early=False)
def version(
    session: Session,
    client: Annotated[bool, typer.Option("--client", help="This program's alone: asks nobody.")] = False,
) -> int:
    """Versions of this program, of the cluster, of operator and hub."""
    from orkhaven.cli import version as does

    return does.version(session, client=client)
