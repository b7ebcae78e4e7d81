"""Constraints: what they mean, what is refused, and that every algorithm keeps them at any size of the space."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.identity import canonical_json
from orkhaven.core.search import trial_params
from tests.unit.core.test_search import by_hand, everything, parameter_lists, search
from tests.unit.core.world import SweepWorld, make_sweep

ENCODER = {"name": "model.encoder", "values": ["resnet50", "resnet18", None]}
BATCH = {"name": "batch_size", "values": [4, 8, 16, 32]}
AMP = {"name": "amp", "values": [True, False]}
LOSS = {"name": "loss", "values": ["dice", "focal"]}
GAMMA = {"name": "gamma", "values": [1, 2, 3], "when": {"loss": ["focal"]}}
LR = {"name": "lr", "range": {"min": 1e-5, "max": 1e-2, "scale": "Log"}}
DROP = {"name": "drop", "range": {"min": 0, "max": 1}}


def kept(text: str, *parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return everything(search(list(parameters), constraints=[text], search={"order": "Sequential"}))


class TestMeaning:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ('model.encoder != "resnet50" || batch_size <= 16', lambda e, b: e != "resnet50" or b <= 16),
            ('not (model.encoder == "resnet50" and batch_size > 16)', lambda e, b: e != "resnet50" or b <= 16),
            ("model.encoder != null && batch_size in [4, 32]", lambda e, b: e is not None and b in (4, 32)),
            ("model.encoder in (null, 'resnet18')", lambda e, b: e in (None, "resnet18")),
            ('model.encoder ~ "*18"', lambda e, b: e == "resnet18"),
            ('model.encoder > "resnet2"', lambda e, b: e == "resnet50"),
            ("!(batch_size < 16)", lambda e, b: b >= 16),
            ("batch_size == 4.0", lambda e, b: b == 4),
        ],
    )
    def test_a_grid_is_what_is_left_of_the_product(self, text: str, wanted: Any) -> None:
        product = itertools.product(ENCODER["values"], BATCH["values"])
        expected = [{"model": {"encoder": e}, "batch_size": b} for e, b in product if wanted(e, b)]
        assert kept(text, ENCODER, BATCH) == expected

    @pytest.mark.parametrize(
        ("text", "left"),
        [
            ("gamma < 3", ["dice", "focal 1", "focal 2"]),
            ("gamma < 3 && gamma > 1", ["dice", "focal 2"]),
            ('gamma < 3 and loss == "focal"', ["focal 1", "focal 2"]),
            ("not gamma < 3", ["dice", "focal 3"]),
            ("gamma == null", ["dice"]),
            ("gamma != null", ["focal 1", "focal 2", "focal 3"]),
            ("gamma in (1, null)", ["dice", "focal 1"]),
        ],
    )
    def test_what_is_left_out_is_no_reason_to_refuse(self, text: str, left: list[str]) -> None:
        tried = kept(text, LOSS, GAMMA)
        assert [f"{p['loss']} {p.get('gamma', '')}".strip() for p in tried] == left

    def test_two_parameters_can_be_compared_with_each_other(self) -> None:
        low, high = {"name": "low", "values": [1, 2, 3]}, {"name": "high", "values": [1, 2, 3]}
        assert [(p["low"], p["high"]) for p in kept("low < high", low, high)] == [(1, 2), (1, 3), (2, 3)]

    def test_all_of_them_have_to_hold(self) -> None:
        texts = ["batch_size <= 8", "amp == true || batch_size == 4"]
        tried = everything(search([BATCH, AMP], constraints=texts, search={"order": "Sequential"}))
        assert tried == [
            {"batch_size": 4, "amp": True},
            {"batch_size": 4, "amp": False},
            {"batch_size": 8, "amp": True},
        ]


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("batchsize <= 16", "no parameter of this search is called batchsize; did you mean batch_size?"),
            ('encoder == "resnet50"', "called encoder; did you mean model.encoder?"),
            ("zzz == 1", "called zzz; there are model.encoder, batch_size, amp, lr"),
            ('batch_size <= "16"', "batch_size is never a text; it is one of 4, 8, 16, 32 (at character 15)"),
            ("batch_size == 5", "batch_size is never 5; it is one of 4, 8, 16, 32"),
            ('model.encoder == "resnet5O"', 'is never "resnet5O"; did you mean resnet50 or resnet18?'),
            ("batch_size == null", "batch_size is never null, and always set"),
            ("amp < true", "order is for numbers and texts, not for true"),
            ("lr == 5", "lr is never 5; it is a number from 1e-05 to 0.01"),
            ("lr < NaN", "lr is never nan"),
            ('lr ~ "x"', "lr is never a text, which ~ needs"),
            ("amp == batch_size", "amp and batch_size are never of one kind"),
            ("batch_size = 4", "means nothing here; compare with =="),
            ("batch_size", "expected a comparison (==, !=, <, <=, >, >=, ~, in) after batch_size, found the end"),
            ("__import__('os')", "no parameter of this search is called __import__"),
            ("4 < batch_size", 'a comparison begins with a parameter, such as model.encoder == "resnet50"'),
            (" ", "is empty; say what has to hold"),
            ("(" * 40 + "amp == true" + ")" * 40, "at most 32 levels"),
        ],
    )
    def test_a_text_that_cannot_be_is_told_with_its_path_and_what_would_be_right(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=r"^spec\.constraints\[1\]: ") as caught:
            search(
                [ENCODER, BATCH, AMP, LR], constraints=["lr < 1", text], search={"algorithm": "Random", "maxTrials": 3}
            )
        assert message in str(caught.value)

    def test_one_that_nothing_keeps_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"^spec\.constraints\[1\]: none of the 12 combinations keeps it: batch_"):
            search([ENCODER, BATCH], constraints=["batch_size > 4", "batch_size > 32"])

    def test_some_that_nothing_keeps_together_are_told(self) -> None:
        with pytest.raises(ValueError, match=r"^spec\.constraints: none of the 12 combinations keeps them all$"):
            search([ENCODER, BATCH], constraints=["batch_size > 8", "batch_size < 8"])

    @pytest.mark.parametrize("algorithm", ["Random", "Sobol"])
    def test_nothing_found_in_an_open_space_says_how_much_was_tried(self, algorithm: str) -> None:
        body = {"algorithm": algorithm, "maxTrials": 5}
        with pytest.raises(ValueError, match=r"no combination that keeps them all was found: 10,000 draws in a row"):
            search([LR, DROP], constraints=["lr > drop", "drop > 0.01"], search=body)

    def test_what_ties_too_many_together_for_a_grid_is_refused(self) -> None:
        parameters = [{"name": name, "values": list(range(1000))} for name in "ab"]
        with pytest.raises(ValueError, match=r"tie too many combinations together.*Random or Sobol"):
            search(parameters, constraints=["a < b"])


@st.composite
def constrained(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """Parameters on conditions, and texts over them."""
    parameters = draw(parameter_lists())
    texts = []
    for _ in range(draw(st.integers(1, 3))):
        parts = []
        for _ in range(draw(st.integers(1, 3))):
            parameter = draw(st.sampled_from(parameters))
            value = draw(st.sampled_from([v for v in parameter["values"] if not isinstance(v, list)] or [None]))
            if value is None and None not in parameter["values"] and not parameter.get("when"):
                continue
            parts.append(f"{parameter['name']} {draw(st.sampled_from(['==', '!=']))} {canonical_json(value).decode()}")
        if parts:
            texts.append(draw(st.sampled_from([" or ", " and "])).join(parts))
    return parameters, texts


def _keeps(text: str, params: dict[str, Any]) -> bool:
    """The slow way, by three values."""
    joint = " or " if " or " in text else " and "
    verdicts: list[bool | None] = []
    for part in text.split(joint):
        name, sign, literal = part.split(" ", 2)
        value = canonical_json(params[name]).decode() if name in params else None
        if value is None:
            verdicts.append(None if literal != "null" else sign == "==")
        else:
            verdicts.append((value == literal) is (sign == "=="))
    if joint == " or ":
        return any(verdicts) or None in verdicts
    return False not in verdicts


class TestEverySpace:
    @given(constrained(), st.sampled_from(["Grid", "Random", "Sobol"]), st.integers(0, 3))
    @settings(max_examples=150, deadline=None)
    def test_all_that_keep_them_are_made_once_and_no_others(
        self, space: tuple[list[dict[str, Any]], list[str]], algorithm: str, seed: int
    ) -> None:
        parameters, texts = space
        expected = [p for p in by_hand(parameters) if all(_keeps(text, p) for text in texts)]
        body = {"algorithm": algorithm, "maxTrials": 1000, "seed": seed}
        if not expected:
            with pytest.raises(ValueError, match=r"none of the"):
                search(parameters, constraints=texts, search=body)
            return
        source = search(parameters, constraints=texts, search=body)
        assert source.total == len(expected)
        assert sorted(map(canonical_json, everything(source))) == sorted(map(canonical_json, expected))
        assert source.shortfall is None

    @pytest.mark.parametrize("algorithm", ["Random", "Sobol"])
    def test_a_continuous_space_is_kept_to_as_well(self, algorithm: str) -> None:
        parameters = [LR, DROP, BATCH]
        texts = ["lr < 1e-3 or batch_size > 8", "drop < 0.1"]
        body = {"algorithm": algorithm, "maxTrials": 60, "seed": 3}
        drawn = everything(search(parameters, constraints=texts, search=body))
        assert len({canonical_json(p) for p in drawn}) == 60
        assert all((p["lr"] < 1e-3 or p["batch_size"] > 8) and p["drop"] < 0.1 for p in drawn)
        assert len(str(drawn[0]["lr"])) < 13, "still few digits"

    def test_a_million_million_combinations_are_counted_exactly(self) -> None:
        parameters = [{"name": f"p{i}", "values": list(range(100))} for i in range(6)]
        source = search(parameters, constraints=["p0 < p5"], search={"seed": 1})
        assert source.total == 100**4 * (100 * 99 // 2)
        some = [source.params(index) for index in range(0, source.total, source.total // 200)]
        assert all(p["p0"] < p["p5"] for p in some)
        assert len({str(p) for p in some}) == len(some)

    def test_values_that_a_constraint_takes_as_the_same_are_counted_as_one(self) -> None:
        parameters = [{"name": f"p{i}", "values": list(range(1000))} for i in range(4)]
        texts = ["p0 > 997 or p1 == 5", "p1 != 5 or p3 in (1, 2) or p2 < 10"]
        source = search(parameters, constraints=texts, search={"order": "Sequential"})
        five = 1000 * (1000 * 1000 - 990 * 998)
        assert source.total == five + 2 * 999 * 1000 * 1000
        assert source.params(0) == {"p0": 0, "p1": 5, "p2": 0, "p3": 0}
        assert source.params(source.total - 1) == {f"p{i}": 999 for i in range(4)}

    @pytest.mark.parametrize("algorithm", ["Random", "Sobol"])
    def test_what_cannot_be_counted_is_drawn_all_the_same(self, algorithm: str) -> None:
        parameters = [{"name": name, "range": {"min": 0, "max": 10**9, "scale": "Integer"}} for name in "ab"]
        body = {"algorithm": algorithm, "maxTrials": 50}
        assert all(p["a"] < p["b"] for p in everything(search(parameters, constraints=["a < b"], search=body)))

    def test_a_condition_on_a_wide_range_is_no_list_either(self) -> None:
        wide = {"name": "n", "range": {"min": 0, "max": 10**9, "scale": "Integer"}}
        when = {"name": "m", "values": [1, 2], "when": {"n": [3]}}
        body = {"algorithm": "Random", "maxTrials": 5}
        assert len(everything(search([wide, when], search=body))) == 5


class TestSweep:
    """A sweep whose constraints refuse nearly everything."""

    def test_it_ends_with_what_was_found_and_says_how_much_was_tried(self) -> None:
        parameters = [{"name": name, "range": {"min": 0, "max": 10**6, "scale": "Integer"}} for name in "ab"]
        # Of a million million pairs, one.
        texts = ["a <= 400000", "b <= 400000", "a in [7]", "b == 9"]
        world = SweepWorld(
            make_sweep(
                uid="uid-few",
                parameters=parameters,
                constraints=texts,
                initialPoints=[{"a": 7, "b": 9}],
                search={"algorithm": "Random", "maxTrials": 20},
            )
        )
        plan = world.plan()
        assert (plan.actions, plan.status, plan.requeue_after) == ((), None, 0.0), "it takes its turns"
        looks = 0
        while not world.children:
            world.look()
            looks += 1
        assert 9 <= looks <= 13
        world.settle()
        assert world.status["trials"]["total"] == 1
        world.end(world.by_trial()[0], 0.5)
        world.settle()
        assert world.status["state"] == "Succeeded"
        finished = next(c for c in world.status["conditions"] if c["type"] == "Finished")
        assert finished["message"] == (
            "1 of 1 trials succeeded; no more of 20 were found: "
            "10,000 draws in a row broke a constraint or had been made already"
        )

    def test_one_that_nothing_keeps_ends_it_at_once(self) -> None:
        world = SweepWorld(make_sweep(uid="uid-none", parameters=[BATCH], constraints=["batch_size > 32"]))
        world.settle()
        assert world.status["state"] == "Failed"
        accepted = next(c for c in world.status["conditions"] if c["type"] == "Accepted")
        assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
        assert "none of the 4 combinations keeps it" in accepted["message"]

    def test_after_a_restart_it_finds_the_same(self) -> None:
        spec = make_sweep(
            uid="uid-again",
            parameters=[LR, DROP],
            constraints=["drop < 0.02"],
            parallelism=30,
            search={"algorithm": "Sobol", "maxTrials": 60},
        )
        world = SweepWorld(spec)
        world.settle()
        made = {world.children[name]["spec"]["params"]["drop"] for name in world.children}
        view = world.view()
        assert view.spec is not None
        again = trial_params(view.spec, {})
        assert made == {again.params(index)["drop"] for index in range(len(world.children))}
