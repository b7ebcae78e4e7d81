"""`kubectl_complete-ork`: what kubectl asks for when a person presses Tab. Silent about whatever goes wrong.

Called with the words after `kubectl ork`, the last one unfinished (empty after a space). Prints one candidate a line
and a directive: 4, no names of files; 0, names of files too.
"""

from __future__ import annotations

import sys

NO_FILES, FILES = 4, 0
SWEEPS, EXPERIMENTS, BOTH = "Sweep", "Experiment", "both"

# What stands at each place of a verb.
PLACES = {
    "status": (SWEEPS,),
    "top": (SWEEPS,),
    "failures": (SWEEPS,),
    "export": (SWEEPS,),
    "dashboard": (SWEEPS,),
    "logs": (EXPERIMENTS,),
    "describe": (EXPERIMENTS,),
    "why": (EXPERIMENTS,),
    "debug": (EXPERIMENTS,),
    "rerun": (BOTH,),
    "diff": (EXPERIMENTS, EXPERIMENTS),
    "wait": (BOTH,),
    "cancel": (BOTH,),
    "suspend": (BOTH,),
    "resume": (BOTH,),
}
TAKE_FILES = ("submit", "lint", "import-haven")


def main() -> None:
    try:
        candidates, directive = complete(sys.argv[1:])
    except Exception:  # noqa: BLE001 - a Tab that finds nothing is better than a traceback in the command line
        candidates, directive = [], NO_FILES
    print("\n".join([*candidates, f":{directive}"]))


def complete(words: list[str]) -> tuple[list[str], int]:
    """(candidates, directive)."""
    *before, current = words or [""]
    verb = next((word for word in before if not word.startswith("-")), None)
    if verb is None:
        return _starting(_verbs(), current), NO_FILES
    options = _options(verb)
    previous = before[-1] if before else ""
    if options.get(previous):  # the value of an option
        return _values(previous, current, before)
    if current.startswith("--") and "=" in current:
        name, _, value = current.partition("=")
        found, directive = _values(name, value, before)
        return [f"{name}={one}" for one in found], directive
    if current.startswith("-"):
        return _starting([name for name in options if name.startswith("--")], current), NO_FILES
    if verb in TAKE_FILES:
        return [], FILES
    places = PLACES.get(verb, ())
    at = len(_positional(before[before.index(verb) + 1 :], options))
    return (_names(places[at], current, before), NO_FILES) if at < len(places) else ([], NO_FILES)


def _starting(words: list[str], current: str) -> list[str]:
    return [word for word in words if word.startswith(current)]


def _verbs() -> list[str]:
    import typer.main

    from orkhaven.cli.verbs import app

    command = typer.main.get_command(app)
    return [f"{name}\t{one.get_short_help_str()}" for name, one in command.commands.items()]  # type: ignore[attr-defined]


def _options(verb: str) -> dict[str, bool]:
    """Name of each option -> whether a value follows."""
    import typer.main

    from orkhaven.cli.verbs import app

    one = typer.main.get_command(app).commands.get(verb)  # type: ignore[attr-defined]
    found: dict[str, bool] = {"--help": False}
    for param in one.params if one else ():
        for name in (*param.opts, *param.secondary_opts):
            if name.startswith("-"):
                found[name] = not getattr(param, "is_flag", False)
    return found


def _positional(words: list[str], options: dict[str, bool]) -> list[str]:
    found, takes_value = [], False
    for word in words:
        if takes_value:
            takes_value = False
        elif word.startswith("-"):
            takes_value = options.get(word, False)
        else:
            found.append(word)
    return found


def _values(option: str, current: str, before: list[str]) -> tuple[list[str], int]:
    if option in ("-o", "--output"):
        from orkhaven.cli.output import Format

        return _starting(list(Format), current), NO_FILES
    if option in ("-n", "--namespace"):
        return _kubectl(before, current, "get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}"), NO_FILES
    if option == "--context":
        return _kubectl(before, current, "config", "get-contexts", "-o", "name"), NO_FILES
    if option == "--for":
        return _starting(["Finished", "Succeeded", "Running", "Suspended", "Accepted"], current), NO_FILES
    return [], FILES if option == "--kubeconfig" else NO_FILES


def _given(before: list[str], *names: str) -> str | None:
    for at, word in enumerate(before):
        for name in names:
            if word == name and at + 1 < len(before):
                return before[at + 1]
            if name.startswith("--") and word.startswith(f"{name}="):
                return word.partition("=")[2]
    return None


def _kubectl(before: list[str], current: str, *arguments: str) -> list[str]:
    """The words that kubectl prints. A process costs 50 ms, less than the proxy and a client in Python."""
    import shutil
    import subprocess

    program = shutil.which("kubectl")
    if program is None:
        return []
    options = [
        f"{name}={value}"
        for name in ("--context", "--kubeconfig", "--as")
        if (value := _given(before, name)) and name != arguments[0]
    ]
    done = subprocess.run(
        [program, *arguments, *options, *(["--request-timeout=3s"] if arguments[0] == "get" else [])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=5,
    )
    return _starting(done.stdout.split(), current)


def _names(kind: str, current: str, before: list[str]) -> list[str]:
    namespace = _given(before, "-n", "--namespace")
    kinds = {SWEEPS: ["sweeps"], EXPERIMENTS: ["experiments"], BOTH: ["sweeps", "experiments"]}[kind]
    path = "jsonpath={.items[*].metadata.name}"
    resources = ",".join(f"{plural}.orkhaven.io" for plural in kinds)
    return _kubectl(before, current, "get", resources, "-o", path, *([f"--namespace={namespace}"] if namespace else []))
