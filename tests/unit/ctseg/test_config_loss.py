"""The loss's parameters: an option that the loss does not have is refused, by its dotted name."""

from __future__ import annotations

from typing import Any, get_args

import pytest

import orkrun
from ctseg import config
from ctseg.config.loss import ALIASES, LOSSES, TERMS, Loss, LossOptions, LossTerm


@pytest.mark.parametrize(
    ("loss", "name", "says"),
    [
        (
            {"name": "dice", "gamma": 2},
            "loss.gamma",
            "dice has over, smooth); gamma is of focal_tversky, focal, nr_dice",
        ),
        ({"gamma": 2}, "loss.gamma", "dice_ce has no such option"),
        ({"name": "mae", "q": 0.7}, "loss.q", "mae has no options"),
        ({"name": "focal", "gamma": -2.0}, "loss.gamma", "greater than or equal to 0"),
        ({"name": "nr_dice", "gamma": 3}, "loss.gamma", "for nr_dice from 1 to 2"),
        ({"name": "nr_dice_ce", "gamma": 0.5}, "loss.gamma", "for nr_dice from 1 to 2"),
        ({"name": "focal_tversky", "gamma": 0.5}, "loss.gamma", "from 1 to 3"),
        ({"name": "gce", "q": 0}, "loss.q", "greater than 0"),
        ({"name": "dice", "over": "image"}, "loss.over", "There are: batch, slice"),
        ({"name": "wbce_wiou", "boundary_window": 30}, "loss.boundary_window", "odd"),
        ({"name": "tversky", "false_positives": 0, "false_negatives": 0}, "loss", "both 0"),
        ({"combination": [{"name": "dice", "gamma": 2}]}, "loss.combination.0.gamma", "no such option"),
        ({"combination": [{"name": "dice_ce"}]}, "loss.combination.0.name", "'dice_ce' is unknown"),
        ({"combination": [{"name": "focal"}], "gamma": 1}, "loss", "gamma: with a combination"),
        ({"name": "focall", "gamma": 2}, "loss.name", "did you mean focal"),
    ],
    ids=str,
)
def test_what_would_change_nothing_is_refused(loss: dict[str, Any], name: str, says: str) -> None:
    with pytest.raises(orkrun.InvalidParams) as raised:
        config.parse({"loss": loss})
    assert raised.value.param == name
    assert says in str(raised.value)


def test_every_name_is_allowed_and_every_alias_leads_to_one() -> None:
    assert set(get_args(Loss.model_fields["name"].annotation)) == set(LOSSES)
    assert set(get_args(LossTerm.model_fields["name"].annotation)) == set(TERMS)
    assert set(ALIASES.values()) <= set(LOSSES)
    assert not set(ALIASES) & set(LOSSES)
    assert Loss.model_validate({"name": "bce"}).name == "cross_entropy"


def test_every_option_is_of_some_loss_and_says_what_it_is() -> None:
    options = set(LossOptions.model_fields) - {"name"}
    assert options == {option for known in TERMS.values() for option in known}
    for option in options:
        assert LossOptions.model_fields[option].description


def test_defaults_are_those_of_each_loss() -> None:
    assert Loss().terms() == (
        ("dice", 1.0, {"smooth": 1.0, "over": "batch"}),
        ("cross_entropy", 1.0, {"positive_weight": 1.0, "label_smoothing": 0.0}),
    )
    assert Loss.model_validate({"name": "nr_dice"}).terms()[0][2]["gamma"] == 1.5
    assert Loss.model_validate({"name": "focal", "alpha": None}).terms() == (
        ("focal", 1.0, {"gamma": 2.0, "alpha": None}),
    )


def test_what_a_checkpoint_keeps_is_read_again() -> None:
    for given in ({"name": "focal", "gamma": 1}, {"combination": [{"name": "gce", "q": 0.5, "weight": 2}]}, {}):
        loss = Loss.model_validate(given)
        params = config.parse({"loss": given})
        assert config.parse(params.model_dump(mode="json")).loss.terms() == loss.terms()
