"""A sweep in a storm ends as it would have ended without: `make chaos`, docs/chaos.md.

ORKHAVEN_CHAOS_SEED: of the schedule. ORKHAVEN_CHAOS_TRIALS: 60, fewer for a look. ORKHAVEN_CHAOS_KILLS: 20.
ORKHAVEN_CHAOS_FAULTS: names of the faults beside the kills, separated by commas; default all, empty none.
ORKHAVEN_CHAOS_EPOCHS: of each training. ORKHAVEN_CHAOS_DOCS: write the report into docs/chaos.md.
"""

from __future__ import annotations

import os
import secrets

import pytest

from tests.chaos import report as pages
from tests.chaos.faults import KILLS, OTHERS
from tests.chaos.schedule import drawn
from tests.chaos.stage import Stage
from tests.chaos.storm import storm

TRIALS = int(os.environ.get("ORKHAVEN_CHAOS_TRIALS", "60"))
KILL_COUNT = int(os.environ.get("ORKHAVEN_CHAOS_KILLS", "20"))
SEED = int(os.environ.get("ORKHAVEN_CHAOS_SEED") or secrets.randbelow(100_000))


def others() -> list[str]:
    names = [fault.name for fault in OTHERS]
    asked = os.environ.get("ORKHAVEN_CHAOS_FAULTS")
    if asked is None:
        return names
    chosen = [name.strip() for name in asked.split(",") if name.strip()]
    unknown = sorted(set(chosen) - set(names))
    assert not unknown, f"ORKHAVEN_CHAOS_FAULTS: no fault {', '.join(unknown)}; there are: {', '.join(names)}"
    return chosen


@pytest.mark.timeout(2 * 60 * 60)
def test_a_sweep_in_a_storm_ends_as_it_would_have_ended_without(stage: Stage) -> None:
    print(f"\nORKHAVEN_CHAOS_SEED={SEED}", flush=True)
    strikes = drawn(SEED, kills=[kill.name for kill in KILLS], others=others(), count=KILL_COUNT, trials=TRIALS)
    report, problems = storm(stage, strikes, seed=SEED, trials=TRIALS, say=lambda line: print(line, flush=True))
    print(f"\n{report.text()}", flush=True)
    assert not problems, "\n".join(problems)
    if os.environ.get("ORKHAVEN_CHAOS_DOCS"):
        pages.write([report])
