"""The teacher and the selection, against their closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctseg import losses, robust
from ctseg.config.loss import Loss
from ctseg.config.robust import Selection, Teacher


def labels(*flags: int) -> torch.Tensor:
    return torch.tensor(flags, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_the_teachers_weight_rises_as_in_the_paper() -> None:
    config = Teacher(weight=8, ramp_up_epochs=4)
    assert robust.ramp_up(config, epoch=0) == pytest.approx(8 * math.exp(-5))
    assert robust.ramp_up(config, epoch=2) == pytest.approx(8 * math.exp(-1.25))
    assert robust.ramp_up(config, epoch=4) == robust.ramp_up(config, epoch=9) == 8
    assert robust.ramp_up(Teacher(weight=3, ramp_up_epochs=0), epoch=0) == 3


def test_agreement_is_the_mean_square_and_teaches_the_student_only() -> None:
    student = torch.zeros(2, 1, 3, 3, requires_grad=True)
    teacher = torch.full((2, 1, 3, 3), math.log(3.0), requires_grad=True)
    value = robust.agreement(student, teacher)
    assert value.tolist() == pytest.approx([0.25**2] * 2)
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert student.grad is not None
    assert (student.grad < 0).all()


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def test_the_teacher_begins_as_the_student_and_then_follows_slowly() -> None:
    teacher, student = network(0), network(1)
    student[1].running_mean.fill_(7)  # type: ignore[index, union-attr]
    robust.follow(teacher, student, decay=0.9, step=0)
    for name, value in student.state_dict().items():
        assert torch.equal(teacher.state_dict()[name], value)
    before = [p.detach().clone() for p in teacher.parameters()]
    other = network(2)
    robust.follow(teacher, other, decay=0.9, step=1000)
    for own, was, now in zip(teacher.parameters(), before, other.parameters(), strict=True):
        assert torch.allclose(own, 0.9 * was + 0.1 * now)
        assert own.grad is None


def test_the_gate_refuses_a_sudden_loss_and_lets_a_lasting_rise_through() -> None:
    gate = robust.Gate(Teacher(weight=1, skip_above=2))
    assert all(gate.admits(loss) for loss in (1.0, 1.1, 0.9, 1.5))
    assert not gate.admits(50.0)
    assert gate.admits(1.0)
    assert not gate.admits(5.0)
    waited = 0
    while waited < 200 and not gate.admits(5.0):
        waited += 1
    assert 10 < waited < 100
    assert gate.skipped == 2 + waited


def test_the_gate_goes_on_where_it_was() -> None:
    series = torch.rand(60, generator=torch.Generator().manual_seed(0)).mul(3).tolist()
    config = Teacher(weight=1, skip_above=1.3)
    whole, first, second = robust.Gate(config), robust.Gate(config), robust.Gate(config)
    expected = [whole.admits(loss) for loss in series]
    assert True in expected
    assert False in expected
    given = [first.admits(loss) for loss in series[:30]]
    second.load_state_dict(first.state_dict())
    assert given + [second.admits(loss) for loss in series[30:]] == expected
    assert second.state_dict() == whole.state_dict()


def test_without_a_limit_the_teacher_learns_from_every_step() -> None:
    gate = robust.Gate(Teacher(weight=1))
    assert all(gate.admits(loss) for loss in (1.0, 1e9, 0.0))


@pytest.mark.parametrize(
    ("config", "epoch", "share"),
    [
        ({"keep": 0.6, "epochs": 10}, 0, 1),
        ({"keep": 0.6, "epochs": 10}, 5, 0.8),
        ({"keep": 0.6, "epochs": 10}, 10, 0.6),
        ({"keep": 0.6, "epochs": 10}, 99, 0.6),
        ({"keep": 0.6, "epochs": 10, "exponent": 2}, 5, 0.9),
        ({"keep": 0.6, "epochs": 0}, 0, 0.6),
        ({"keep": 1}, 50, 1),
    ],
    ids=str,
)
def test_the_kept_share_falls_as_in_co_teaching(config: dict[str, Any], epoch: float, share: float) -> None:
    assert robust.kept_share(Selection(**config), epoch=epoch) == pytest.approx(share)


def test_the_smallest_losses_are_kept_and_slices_without_labels_are_not_among_them() -> None:
    per_slice = torch.tensor([0.9, 0.0, 0.3, 0.5, 0.1], requires_grad=True)
    valid = labels(1, 0, 1, 1, 1)
    weights = robust.select(per_slice, 0.5, valid)
    assert weights.tolist() == [0, 0, 2, 0, 2]
    value = losses.mean(per_slice, valid, weights)
    assert value.item() == pytest.approx((0.3 + 0.1) / 2)
    value.backward()  # type: ignore[no-untyped-call]
    assert per_slice.grad is not None
    assert per_slice.grad.tolist() == pytest.approx([0, 0, 0.5, 0, 0.5])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 10, width=32), st.booleans()), min_size=1, max_size=9), st.floats(0.01, 1))
def test_the_mean_of_the_selected_is_that_of_the_smallest(slices: list[tuple[float, bool]], keep: float) -> None:
    per_slice = torch.tensor([loss for loss, _ in slices])
    valid = labels(*(int(has) for _, has in slices))
    weights = robust.select(per_slice, keep, valid)
    known = sorted(loss for loss, has in slices if has)
    kept = known[: min(max(math.floor(keep * len(known) + 0.5), 1), len(known))]
    assert int((weights > 0).sum()) == len(kept)
    expected = sum(kept) / len(kept) if kept else 0
    assert losses.mean(per_slice, valid, weights).item() == pytest.approx(expected, abs=1e-5)


def test_keeping_all_changes_nothing() -> None:
    per_slice, valid = torch.tensor([0.2, 0.4, 0.0]), labels(1, 1, 0)
    weights = robust.select(per_slice, 1.0, valid)
    assert losses.mean(per_slice, valid, weights).item() == losses.mean(per_slice, valid).item()
    masks = torch.ones(3, 1, 4, 4)
    logits = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(robust.select_pixels(logits, masks, masks, 1.0), masks)


def test_pixels_that_fit_worst_go_from_lesion_and_background_alike() -> None:
    target = torch.zeros(1, 1, 2, 8)
    target[0, 0, 0, :4] = 1
    valid = torch.ones_like(target)
    valid[0, 0, 1, 4:] = 0
    logits = torch.arange(16.0).view(1, 1, 2, 8) / 8
    logits[valid == 0] = float("nan")
    kept = robust.select_pixels(logits, target, valid, 0.5)
    # Of 4 lesion pixels the 2 with the largest logits, of 8 labelled background pixels the 4 with the smallest.
    assert kept[0, 0].tolist() == [[0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0]]


def test_of_each_class_one_pixel_stays_and_where_there_is_no_label_none() -> None:
    target = torch.zeros(2, 1, 4, 4)
    target[0, 0, 1, 1] = 1
    valid = torch.ones_like(target)
    valid[1] = 0
    logits = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    kept = robust.select_pixels(logits, target, valid, 0.01)
    assert kept[0].sum() == 2
    assert kept[0, 0, 1, 1] == 1
    assert kept[1].sum() == 0


def test_wrong_labels_are_what_is_left_out() -> None:
    # A model that is right, slices of which 3 of 10 have their labels turned round: co-teaching's premise.
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(10, 1, 16, 16, generator=generator) > 0.8).float()
    logits = (truth * 4 - 2) + 0.5 * torch.randn(truth.shape, generator=generator)
    label = truth.clone()
    label[:3] = 1 - label[:3]
    valid = torch.ones_like(label)
    for name in ("dice_ce", "gce", "nr_dice", "lovasz"):
        per_slice = losses.build(Loss.model_validate({"name": name}))(logits, label, valid)
        assert robust.select(per_slice, 0.7, valid).bool().tolist() == [False] * 3 + [True] * 7
    spotted = label.clone()
    spotted[:] = truth
    wrong = torch.rand(truth.shape, generator=generator) < 0.1
    spotted[wrong] = 1 - spotted[wrong]
    kept = robust.select_pixels(logits, spotted, valid, 0.6)
    assert not (kept.bool() & wrong).any()
