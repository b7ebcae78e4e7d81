"""What the examples would train."""

from __future__ import annotations

import orkrun
from ctseg import config
from tests.examples import EXAMPLES, trials


def test_every_trial_of_every_example_is_valid_but_the_one_that_is_wrong_on_purpose() -> None:
    wrong = []
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for number, params in enumerate(trials(path.name)):
            try:
                config.parse(params)
            except orkrun.InvalidParams as error:
                wrong.append((path.name, number, error.param))
    assert [(name, param) for name, _, param in wrong] == [("quickstart.yaml", "loss.gamma")]


def test_the_search_over_networks_is_720_trials_and_compares_all_networks_first() -> None:
    chosen = [config.parse(params) for params in trials("covid-architectures.yaml")]
    conditions = [(p.augmentation.preset, p.loss.name, p.batch_size, p.model.preset) for p in chosen]
    assert len(set(conditions)) == len(conditions) == 20 * 3 * 4 * 3
    assert [len(set(column)) for column in zip(*conditions, strict=True)] == [3, 4, 3, 20]
    first = chosen[:20]
    assert len({p.model.preset for p in first}) == 20
    assert len({(p.augmentation.preset, p.loss.name, p.batch_size) for p in first}) == 1
    assert {p.model.architecture for p in first} == set(config.ARCHITECTURES)
