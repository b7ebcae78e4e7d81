"""The corpus of failures under tests/corpus: reading it, judging it, and the page about it.

`python -m tools.corpus --write` puts the figures into docs/failures-corpus.md. An entry is one failure: where it is
from, the cause that a person gave it, and what the operator would have seen of it.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from orkhaven.core.failures import Evidence, Loss, classify, classify_success, fingerprint, parse_record
from orkhaven.core.failures.evidence import text_of

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus"
PAGE = ROOT / "docs" / "failures-corpus.md"
BEGIN, END = "<!-- python -m tools.corpus --write writes from here -->", "<!-- to here -->"
PROVOKED = "provoked here"


@dataclass(frozen=True, slots=True)
class Failure:
    source: str
    """A public URL, or how it was provoked."""
    label: str
    """The cause, given by hand."""
    bug: str
    """Failures of one bug have the same; the entry's own where there is none."""
    evidence: Evidence
    held_out: bool
    """Collected after the rules had been written, and not looked at before the first judgement."""

    @property
    def public(self) -> bool:
        return not self.source.startswith(PROVOKED)


def load(folder: Path = CORPUS) -> list[Failure]:
    """All entries, in a fixed order."""
    return [failure for path in sorted(folder.glob("*/*.yaml")) for failure in _of_file(path)]


def _of_file(path: Path) -> Iterator[Failure]:
    for number, raw in enumerate(yaml.safe_load(path.read_text())):
        place = f"{path.parent.name}/{path.stem}[{number}]"
        try:
            yield _failure(dict(raw), place)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{place}: {error!r}") from error


def _failure(raw: dict[str, Any], place: str) -> Failure:
    source, label = raw.pop("source"), raw.pop("label")
    bug, held = raw.pop("bug", place), raw.pop("held_out", False)
    if "loss" in raw:
        raw["loss"] = Loss[raw["loss"]]
    if "data_paths" in raw:
        raw["data_paths"] = tuple(raw["data_paths"])
    if "record" in raw:
        message = raw["record"]
        raw["record"] = parse_record(message)
        raw.setdefault("text", text_of(raw["record"], message))
    return Failure(source, label, f"{label}: {bug}", Evidence(**raw), held)


def judged(evidence: Evidence) -> str:
    """The cause that the operator would give."""
    if evidence.exit_code == 0 and (found := classify_success(evidence)) is not None:
        return str(found.reason)
    return str(classify(evidence).reason)


def cluster(evidence: Evidence) -> str:
    """The id of the cluster that it would be put into."""
    found = classify(evidence)
    return fingerprint(found.reason, found.message, evidence).id


def true_cluster(failure: Failure) -> str:
    """What a person would put together: causes that strike anywhere are one, else failures of one bug."""
    return failure.label if failure.label in ANYWHERE else failure.bug


ANYWHERE = frozenset(
    {
        "CudaOutOfMemory", "OutOfMemoryKilled", "SharedMemory", "Timeout", "Preempted", "Drained", "NodeLost",
    }
)  # fmt: skip
"""Causes where neither the words nor the place make a difference to what is to be done."""


# --- figures ----------------------------------------------------------------------------------------------------------


def f1_by_cause(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """(label, judged) -> F1 of each cause that is among the labels."""
    both: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    given: Counter[str] = Counter()
    for label, guess in pairs:
        labelled[label] += 1
        given[guess] += 1
        both[label] += label == guess
    return {label: 2 * both[label] / (labelled[label] + given[label]) for label in sorted(labelled)}


def macro_f1(pairs: Sequence[tuple[str, str]]) -> float:
    scores = f1_by_cause(pairs)
    return sum(scores.values()) / len(scores)


def by_exit_code(failures: Sequence[Failure]) -> list[tuple[str, str]]:
    """What exit codes alone are worth: each is taken for the cause that most other sources have with it."""
    pairs = []
    for failure in failures:
        others = Counter(
            one.label
            for one in failures
            if one.source != failure.source and one.evidence.exit_code == failure.evidence.exit_code
        )
        pairs.append((failure.label, others.most_common(1)[0][0] if others else ""))
    return pairs


def by_nearest(failures: Sequence[Failure]) -> list[tuple[str, str]]:
    """What words alone are worth: the cause of the entry of another source with most words in common."""
    words = [set(re.findall(r"[A-Za-z]{3,}", _all_text(failure.evidence).lower())) for failure in failures]
    pairs = []
    for number, failure in enumerate(failures):
        others = [i for i, one in enumerate(failures) if one.source != failure.source]
        nearest = max(others, key=lambda i: len(words[i] & words[number]) / max(len(words[i] | words[number]), 1))
        pairs.append((failure.label, failures[nearest].label))
    return pairs


def _all_text(e: Evidence) -> str:
    return " ".join((e.text, e.waiting_reason, e.waiting_message, e.pod_reason, e.pod_message, e.disruption))


# --- many of them -----------------------------------------------------------------------------------------------------


def varied(failures: Sequence[Failure], count: int, *, seed: int) -> list[Failure]:
    """`count` failures as a sweep would have them: the same bugs with other numbers, paths, lines of code, libraries,
    and logs cut at their beginning."""
    rng = random.Random(seed)
    return [_vary(rng.choice(failures), rng) for _ in range(count)]


def _vary(failure: Failure, rng: random.Random) -> Failure:
    text = failure.evidence.text
    text = re.sub(r"\bline \d+\b", lambda _: f"line {rng.randrange(1, 900)}", text)
    text = re.sub(r"(pid(?:\(s\))? )\d+", lambda m: f"{m[1]}{rng.randrange(2, 65000)}", text)
    text = re.sub(r"0x[0-9a-f]{6,}", lambda _: f"0x{rng.getrandbits(46):012x}", text)
    text = re.sub(r"\b\d+\.\d+ (GiB|MiB)", lambda m: f"{rng.uniform(1, 900):.2f} {m[1]}", text)
    text = re.sub(
        r"\d\d:\d\d:\d\d", lambda _: f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}", text
    )
    text = re.sub(r"/app/", f"/{rng.choice(['app', 'workspace/code', 'src'])}/", text)
    text = re.sub(r"python3\.\d+", f"python3.{rng.randrange(8, 14)}", text)
    head = "".join(f"epoch {i} loss {rng.random():.4f}\n" for i in range(rng.randrange(0, 6)))
    return replace(failure, evidence=replace(failure.evidence, text=f"{head}{text}" if text else text))


# --- the page ---------------------------------------------------------------------------------------------------------


def matrix(pairs: Sequence[tuple[str, str]]) -> str:
    """The confusion matrix as Markdown: rows are labels; only columns that differ are named in each."""
    rows = ["| cause | entries | judged so | F1 | taken for |", "|---|---|---|---|---|"]
    scores = f1_by_cause(pairs)
    for label in sorted(scores):
        guesses = Counter(guess for one, guess in pairs if one == label)
        wrong = ", ".join(f"{guess} {count}" for guess, count in sorted(guesses.items()) if guess != label)
        rows.append(f"| `{label}` | {sum(guesses.values())} | {guesses[label]} | {scores[label]:.3f} | {wrong} |")
    return "\n".join(rows)


def page(failures: Sequence[Failure]) -> str:
    pairs = [(failure.label, judged(failure.evidence)) for failure in failures]
    public = [failure for failure in failures if failure.public]
    held = [(failure.label, judged(failure.evidence)) for failure in failures if failure.held_out]
    sources = {failure.source for failure in failures}
    lines = [
        f"{len(failures)} failures of {len({failure.label for failure in failures})} causes: {len(public)} "
        f"public texts of "
        f"{len({failure.source for failure in public})} sources, {len(failures) - len(public)} provoked by "
        f"really running "
        f"a program that fails; {len(sources)} sources in all.",
        "",
        "| judged by | macro-F1 |",
        "|---|---|",
        f"| the rules | {macro_f1(pairs):.3f} |",
        f"| the nearest entry of another source, by words | {macro_f1(by_nearest(failures)):.3f} |",
        f"| exit codes alone, of other sources | {macro_f1(by_exit_code(failures)):.3f} |",
    ]
    if held:
        right = sum(label == guess for label, guess in held)
        lines.append(f"| the rules, on the {len(held)} held-out entries | {macro_f1(held):.3f} ({right} right) |")
    return "\n".join([*lines, "", matrix(pairs)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/failures-corpus.md instead of the screen")
    parser.add_argument("--wrong", action="store_true", help="only the entries that are judged otherwise")
    options = parser.parse_args()
    failures = load()
    if options.wrong:
        for failure in failures:
            if (guess := judged(failure.evidence)) != failure.label:
                print(f"--- {failure.bug} ({failure.source}): {guess}\n{failure.evidence.text[-600:]}")
        return 0
    text = page(failures)
    if not options.write:
        print(text)
        return 0
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
