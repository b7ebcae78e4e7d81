"""The small pure parts: schedule, order, split, CPUs, window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctseg import batches, device
from ctseg.config import Schedule
from ctseg.data.samples import window
from ctseg.schedule import build


def factors(epochs: int = 10, steps: int = 4, **schedule: object) -> list[float]:
    config = Schedule.model_validate(schedule)
    return [*map(build(config, steps_per_epoch=steps, epochs=epochs), range(epochs * steps))]


def test_warm_up_is_linear_and_reaches_one() -> None:
    assert factors(name="constant", warmup_epochs=1)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_is_half_way_down_in_the_middle() -> None:
    values = factors(name="cosine", warmup_epochs=0, final=0.1)
    assert values[0] == 1.0
    assert values[20] == pytest.approx(0.55)
    assert values == sorted(values, reverse=True)


def test_poly_is_its_formula() -> None:
    assert factors(name="poly", warmup_epochs=0, power=2)[10] == pytest.approx((1 - 10 / 40) ** 2)


def test_step_reduces_every_so_many_epochs() -> None:
    assert factors(name="step", warmup_epochs=0, step_epochs=3, step_factor=0.5)[::12] == [1, 0.5, 0.25, 0.125]


@given(st.sampled_from(["constant", "cosine", "poly", "step"]), st.floats(0, 50), st.integers(1, 5), st.integers(1, 6))
def test_no_schedule_leaves_zero_to_one(name: str, warmup: float, epochs: int, steps: int) -> None:
    values = factors(epochs, steps, name=name, warmup_epochs=warmup)
    assert all(0 <= value <= 1 for value in values)
    assert max(values) > 0


@given(st.integers(1, 40), st.integers(1, 12))
def test_an_epoch_leaves_out_at_most_one_slice(count: int, size: int) -> None:
    used = min(batches.steps_per_epoch(count, size) * size, count)
    assert count - used in (0, 1)


def test_the_order_of_an_epoch_is_a_permutation_of_its_own() -> None:
    first, again, second, other = (
        batches.order(20, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert first == again
    assert len({tuple(order) for order in (first, second, other)}) == 3
    assert sorted(first) == list(range(20))


@given(st.integers(1, 20), st.integers(1, 30), st.floats(0, 0.9), st.integers(0, 3))
def test_extra_slices_take_turns_and_are_as_many_as_asked_for(own: int, extra: int, share: float, seed: int) -> None:
    drawn = batches.extra_per_epoch(own, extra, share=share)
    assert drawn <= extra
    assert drawn == extra or abs(drawn - share * (own + drawn)) <= 1
    seen: list[int] = []
    for epoch in range(6):
        order = batches.order(own, seed=seed, epoch=epoch, extra=extra, drawn=drawn)
        assert sorted(i for i in order if i < own) == list(range(own))
        seen += sorted(i for i in order if i >= own)
        assert len(order) == own + drawn
    counts = [seen.count(own + i) for i in range(extra)]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("content", "cpus"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None)])
def test_threads_follow_the_containers_quota(tmp_path: Path, content: str, cpus: int | None) -> None:
    allowed = device.available_cpus(tmp_path / "none")
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert device.available_cpus(tmp_path) == (allowed if cpus is None else min(cpus, allowed))


def test_padding_outside_the_field_of_view_is_black() -> None:
    hu = np.array([[[-3024, -2048, -1250, -500, 250, 3000]]], np.int16)
    assert window(hu, low=-1250, high=250).tolist() == [[[0, 0, 0, 128, 255, 255]]]
