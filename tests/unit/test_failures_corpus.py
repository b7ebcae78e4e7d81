"""The corpus of failures: judged by the rules, put into clusters, and the page that tells of it."""

from __future__ import annotations

from collections import Counter

import pytest
from sklearn.metrics import completeness_score, homogeneity_score

from tools import corpus
from tools.corpus import Failure, cluster, judged, load, macro_f1, varied


@pytest.fixture(scope="module")
def failures() -> list[Failure]:
    return load()


@pytest.fixture(scope="module")
def pairs(failures: list[Failure]) -> list[tuple[str, str]]:
    return [(failure.label, judged(failure.evidence)) for failure in failures]


def test_it_is_large_and_wide_enough(failures: list[Failure]) -> None:
    assert len(failures) >= 400
    assert len({failure.label for failure in failures}) >= 20
    assert len({failure.source for failure in failures}) >= 300


def test_every_entry_says_where_it_is_from(failures: list[Failure]) -> None:
    assert [f.bug for f in failures if not f.source.startswith(("https://", "provoked here: "))] == []
    of_text = Counter(failure.evidence.text for failure in failures if failure.evidence.text)
    assert [text for text, count in of_text.items() if count > 3] == [], "different sources have different texts"


def test_the_rules_judge_as_people_did(pairs: list[tuple[str, str]]) -> None:
    assert macro_f1(pairs) >= 0.98


def test_no_source_carries_the_score(failures: list[Failure], pairs: list[tuple[str, str]]) -> None:
    """Leave one source out. The rules are not fitted, so each source is judged as it would be without the others; the
    score without any one of them, and the mean over sources, are what is asked for."""
    for source in {failure.source for failure in failures}:
        rest = [pair for failure, pair in zip(failures, pairs, strict=True) if failure.source != source]
        assert macro_f1(rest) >= 0.98, source
    by_source: dict[str, list[bool]] = {}
    for failure, (label, guess) in zip(failures, pairs, strict=True):
        by_source.setdefault(failure.source, []).append(label == guess)
    assert sum(sum(right) / len(right) for right in by_source.values()) / len(by_source) >= 0.98


def test_two_thousand_mixed_failures_fall_into_the_clusters_of_their_bugs(failures: list[Failure]) -> None:
    mixed = varied(failures, 2000, seed=1)
    bugs, clusters = (
        [corpus.true_cluster(failure) for failure in mixed],
        [cluster(failure.evidence) for failure in mixed],
    )
    assert homogeneity_score(bugs, clusters) >= 0.98
    assert completeness_score(bugs, clusters) >= 0.95


def test_the_order_of_rules_and_the_words_are_worth_more_than_exit_codes(failures: list[Failure]) -> None:
    assert macro_f1(corpus.by_exit_code(failures)) < 0.3 < macro_f1(corpus.by_nearest(failures)) < 0.9


def test_the_page_tells_of_this_corpus(failures: list[Failure]) -> None:
    text = corpus.PAGE.read_text()
    written = text.partition(corpus.BEGIN)[2].partition(corpus.END)[0].strip()
    assert written == corpus.page(failures), "python -m tools.corpus --write"
