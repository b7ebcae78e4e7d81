"""The process behind `engine.asker`: reads questions on standard input, writes answers to standard output.

Each is a line with its length in bytes, then JSON. In: {"sweep", "known", "forget", "results", "numbers"} and, with
the first question of a sweep, its "spec". Out: {"points", "exhausted", "problem", "unavailable"}, or {"again": true}
where it does not know what `known` says it does. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import OrderedDict
from typing import Any, BinaryIO

from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.history import Outcome, Result
from orkhaven.core.search.suggest import Suggester, Unavailable

SWEEPS = 64
NICE = 5
"""Below the operator's own work."""


class Answering:
    """What is known of the sweeps that asked last."""

    def __init__(self) -> None:
        self._sweeps: OrderedDict[str, tuple[Suggester, set[int]]] = OrderedDict()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        sweep = question["sweep"]
        # Taken out: where this fails half-way, the next question has to tell everything again.
        known = self._sweeps.pop(sweep, None)
        try:
            if "spec" in question:
                known = Suggester(SweepSpec.model_validate(question["spec"])), set()
            if known is None or len(known[1]) != question["known"]:
                return {"again": True}
            suggester, numbers = known
            suggester.forget(question["forget"])
            numbers.difference_update(question["forget"])
            suggester.tell(
                Result(number, tuple(point), Outcome(outcome), value, step)
                for number, point, outcome, value, step in question["results"]
            )
            numbers.update(result[0] for result in question["results"])
            found = suggester.ask(question["numbers"])
        except Unavailable as error:
            return {"unavailable": str(error)}
        except Exception as error:  # noqa: BLE001  Whatever a sampler raises costs its sweep this answer.
            traceback.print_exc()
            return {"problem": f"the search failed: {type(error).__name__}: {str(error)[:500]}"}
        self._sweeps[sweep] = known
        while len(self._sweeps) > SWEEPS:
            self._sweeps.popitem(last=False)
        return {"points": found.points, "exhausted": found.exhausted}


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Until there are no more."""
    answering = Answering()
    while head := questions.readline():
        body = json.dumps(answering.answer(json.loads(questions.read(int(head))))).encode()
        answers.write(b"%d\n" % len(body) + body)
        answers.flush()


def main() -> None:
    os.nice(NICE)
    # Whatever a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
