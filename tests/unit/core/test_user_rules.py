"""Rules that users add: where they stand in the chain, and what is said of one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.api.failures import Action
from orkhaven.core.failures import Evidence, classify
from orkhaven.core.user_rules import MAX_RULES, compile_all

LICENCE: dict[str, Any] = {
    "name": "licence",
    "pattern": "cannot check out a licen[cs]e",
    "reason": "LicenceServer",
    "action": "Retry",
    "suggestion": "Ask the licence desk.",
}


def evidence(text: str, *rules: dict[str, Any], **fields: Any) -> Evidence:
    compiled, wrong = compile_all(rules, where="rules")
    assert wrong == []
    return Evidence(text=text, rules=compiled, **fields)


def test_a_rule_names_what_only_this_place_knows() -> None:
    found = classify(evidence("step 3\nERROR: cannot check out a licence (lic7)\nbye", LICENCE, exit_code=1))
    assert found.reason == "LicenceServer"
    assert found.message == "ERROR: cannot check out a licence (lic7) (rule licence)"
    assert (found.action, found.suggestion, found.rule) == (Action.RETRY, "Ask the licence desk.", "licence")


def test_the_first_rule_wins_and_comes_before_our_own_words() -> None:
    ours = LICENCE | {
        "name": "gpu",
        "pattern": "CUDA out of memory",
        "reason": "Infrastructure",
        "action": "MoreMemory",
    }
    last = LICENCE | {"name": "all", "pattern": ".", "reason": "Anything", "action": None}
    found = classify(evidence("CUDA out of memory", ours, last))
    assert (found.reason, found.action) == ("Infrastructure", Action.MORE_MEMORY)


def test_what_the_cluster_says_comes_before_any_rule() -> None:
    everything = LICENCE | {"pattern": "."}
    assert classify(evidence("x", everything, disruption="PreemptionByScheduler")).reason == "Preempted"
    assert classify(evidence("x", everything, terminated_reason="OOMKilled")).reason == "OutOfMemoryKilled"


def test_a_text_that_fits_no_rule_is_judged_as_ever() -> None:
    assert classify(evidence("ModuleNotFoundError: No module named 'x'", LICENCE)).reason == "ImportError"


WRONG: dict[str, tuple[Any, str]] = {
    "a pattern": (LICENCE | {"pattern": "(a"}, "rules[1].pattern: a ( without its )"),
    "a pattern that looks around": (LICENCE | {"pattern": "(?=a)b"}, "rules[1].pattern: look-around"),
    "a field that is not known": (LICENCE | {"patern": "x"}, "rules[1].patern: Extra inputs are not permitted"),
    "an action that is not known": (LICENCE | {"action": "Sometimes"}, "rules[1].action: Input should be 'Never'"),
    "a reason of two words": (LICENCE | {"reason": "licence server"}, "rules[1].reason: one word in CamelCase"),
    "no name": ({"pattern": "x", "reason": "X"}, "rules[1].name: Field required"),
    "no object": ("licence", "rules[1]: Input should be a valid dictionary"),
    "a name that is there already": (LICENCE | {"name": "first"}, "rules[1].name: 'first' stands twice"),
}


@pytest.mark.parametrize(("raw", "says"), WRONG.values(), ids=WRONG)
def test_a_rule_that_is_wrong_is_told_of_and_stops_no_other(raw: Any, says: str) -> None:
    first, last = LICENCE | {"name": "first"}, LICENCE | {"name": "last"}
    rules, wrong = compile_all([first, raw, last], where="rules")
    assert [rule.name for rule in rules] == ["first", "last"]
    assert len(wrong) == 1
    assert wrong[0].startswith(says)


def test_there_is_a_most() -> None:
    rules, wrong = compile_all([LICENCE | {"name": f"r{n}"} for n in range(MAX_RULES + 5)], where="rules")
    assert len(rules) == MAX_RULES
    assert wrong == [f"rules[{MAX_RULES}]: more than {MAX_RULES} rules; this and what follows is left out"]


@pytest.mark.parametrize(("reason", "action"), [("LicenceServer", Action.RETRY), ("DataError", None)])
def test_a_word_of_ones_own_is_treated_as_any_other_exception(reason: str, action: Action | None) -> None:
    (rule,), _ = compile_all([LICENCE | {"reason": reason, "action": None}], where="rules")
    assert rule.action is action
