"""What a step minimizes: its parts, what each leaves out, and that it goes on where it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import orkrun
from ctseg import config, losses, robust
from ctseg.objective import Objective

Given = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 1)
    )


def batch(*, slices: int = 6) -> Given:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(slices, 1, 16, 16, generator=generator)
    return images, (images > 0.7).float(), torch.ones_like(images)


def objective(model: torch.nn.Module, **params: Any) -> Objective:
    return Objective(config.parse(params), model)


def value(of: Objective, model: torch.nn.Module, given: Given, *, epoch: float = 100) -> float:
    return of(model, *given, epoch=epoch, generator=torch.Generator().manual_seed(1)).item()


def test_with_nothing_else_it_is_the_mean_loss() -> None:
    model, given = network(), batch()
    whole = objective(model)
    expected = losses.mean(whole.loss(model(given[0]), given[1], given[2]), given[2])
    assert value(whole, model, given) == pytest.approx(expected.item())
    assert whole.state_dict() == {}


@pytest.mark.parametrize("over", ["batch", "slice"])
def test_wrong_slices_that_are_left_out_have_no_part_in_the_gradient(over: str) -> None:
    model, (images, target, valid) = network().eval(), batch()
    target[:2] = 1 - target[:2]
    with torch.no_grad():  # a model that has learnt what is right
        model[3].weight.zero_()  # type: ignore[index, operator, union-attr]
        model[3].bias.zero_()  # type: ignore[index, operator, union-attr]

    def forward(x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = (x - 0.7) * 20 + model(x)
        return answer

    chosen = objective(model, selection={"keep": 4 / 6, "epochs": 10}, loss={"name": "dice_ce", "over": over})
    picked = chosen.selected(forward(images), target, valid, epoch=10)
    assert picked.amax((1, 2, 3)).tolist() == [0, 0, 1, 1, 1, 1]
    assert torch.equal(chosen.selected(forward(images), target, valid, epoch=0), valid)
    gradients = []
    for part in ((images, target, valid), (images[2:], target[2:], valid[2:])):
        model.zero_grad()
        plain = chosen if len(part[0]) == 6 else objective(model, loss={"name": "dice_ce", "over": over})
        plain(forward, *part, epoch=10, generator=torch.Generator()).backward()  # type: ignore[no-untyped-call]
        gradients.append(model[3].bias.grad.item())  # type: ignore[index, operator, union-attr]
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-4)


def test_wrong_pixels_can_be_left_out_too() -> None:
    model, (images, target, valid) = network(), batch()
    chosen = objective(model, selection={"keep": 0.5, "epochs": 0, "by": "pixel"})
    picked = chosen.selected(images, target, valid, epoch=0)
    assert picked.sum().item() == pytest.approx(0.5 * valid.sum().item(), abs=12)


def test_consistency_adds_what_the_network_says_otherwise_of_a_mirrored_slice() -> None:
    model, given = network().eval(), batch()
    plain, mirrored = objective(model), objective(model, consistency={"weight": 2})
    # The loss of both answers and twice their difference.
    images, target, valid = given
    answer = model(images.flip(3)).flip(3)
    other = losses.mean(plain.loss(answer, target, valid), valid) + 2 * (answer - model(images)).abs().mean()
    assert value(mirrored, model, given) == pytest.approx(value(plain, model, given) + other.item(), rel=1e-5)


def test_the_teacher_disagrees_once_the_student_has_moved() -> None:
    model, given = network().eval(), batch()
    taught = objective(model, teacher={"weight": 3, "ramp_up_epochs": 0, "decay": 0.5})
    plain = objective(model)
    assert value(taught, model, given) == pytest.approx(value(plain, model, given))
    with torch.no_grad():
        model[3].bias.add_(1)  # type: ignore[index, operator, union-attr]
    assert value(taught, model, given) > value(plain, model, given)
    taught.stepped(model, value=1.0, step=0)
    assert value(taught, model, given) == pytest.approx(value(plain, model, given))


def test_a_step_that_went_wrong_teaches_nothing() -> None:
    model = network()
    taught = objective(model, teacher={"weight": 1, "skip_above": 2})
    taught.stepped(model, value=1.0, step=0)
    kept = {name: tensor.clone() for name, tensor in taught.state_dict()["teacher"].items()}
    taught.stepped(network(1), value=9.0, step=1)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in taught.state_dict()["teacher"].items())
    taught.stepped(network(1), value=1.0, step=2)
    assert not torch.equal(taught.state_dict()["teacher"]["0.weight"], kept["0.weight"])


def test_the_teacher_goes_on_where_it_was() -> None:
    params: dict[str, Any] = {"teacher": {"weight": 1, "skip_above": 2}}
    first, second = objective(network(), **params), objective(network(3), **params)
    first.stepped(network(1), value=1.0, step=5)
    second.load_state_dict(first.state_dict())
    for each in (first, second):
        each.stepped(network(2), value=1.5, step=6)
    assert all(
        torch.equal(tensor, second.state_dict()["teacher"][name])
        for name, tensor in first.state_dict()["teacher"].items()
    )
    assert first.state_dict()["gate"] == second.state_dict()["gate"]


def test_the_teacher_itself_is_never_trained() -> None:
    model, given = network(), batch()
    taught = objective(model, teacher={"weight": 1, "ramp_up_epochs": 0})
    taught(model, *given, epoch=1, generator=torch.Generator()).backward()  # type: ignore[no-untyped-call]
    assert taught.teacher is not None
    assert all(parameter.grad is None for parameter in taught.teacher.parameters())
    assert not taught.teacher.training


def test_slices_of_a_loss_that_has_no_value_for_each_cannot_be_selected() -> None:
    with pytest.raises(orkrun.InvalidParams, match=r"selection: .* mcc over the batch"):
        config.parse({"loss": {"name": "mcc"}, "selection": {"keep": 0.5}})
    config.parse({"loss": {"name": "mcc", "over": "slice"}, "selection": {"keep": 0.5}})
    config.parse({"loss": {"name": "mcc"}, "selection": {"keep": 0.5, "by": "pixel"}})


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learning_from_the_small_losses_alone_forgets_the_wrong_labels(seed: int) -> None:
    """A third of the slices has its labels turned round; what is learnt is compared with the truth."""
    torch.manual_seed(seed)
    images = torch.rand(24, 1, 16, 16)
    truth = (images > 0.6).float()
    label = truth.clone()
    label[:10] = 1 - label[:10]
    valid = torch.ones_like(label)
    errors = []
    for params in ({"loss": {"name": "bce"}}, {"loss": {"name": "bce"}, "selection": {"keep": 0.5, "epochs": 20}}):
        model = network(seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        trained = objective(model, **params)
        for step in range(60):
            optimizer.zero_grad()
            trained(model, images, label, valid, epoch=step, generator=torch.Generator()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        miss = (torch.sigmoid(model.eval()(images)) - truth).abs().mean().item()
        errors.append(miss)
    assert errors[1] < 0.5 * errors[0]
    assert robust.kept_share(config.parse({"selection": {"keep": 0.5}}).selection, epoch=99) == 0.5
