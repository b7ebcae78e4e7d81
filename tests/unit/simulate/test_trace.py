"""Traces and nodes as files: what is read is what was written, and errors say where."""

from __future__ import annotations

import io

import pytest

from orkhaven.api import Priority
from orkhaven.core.devices import WHOLE
from orkhaven.core.queue.needs import memory_on, model_on
from orkhaven.simulate import TraceError, read_nodes, read_trace, write_trace
from tests.unit.simulate.worlds import make_run, small_trace

HEAD = "submitted_s,namespace,user,gpus,duration_s,priority,gpu_model"
GOOD = "0,radiology,ana,2,3600,Standard,"


def read(*lines: str) -> list[object]:
    return list(read_trace("\n".join(lines).splitlines(keepends=True), name="t.csv"))


def test_a_trace_is_read_as_it_was_written() -> None:
    trace = small_trace()
    file = io.StringIO()
    write_trace(trace, file)
    file.seek(0)
    assert read_trace(file, name="t.csv") == trace


def test_runs_come_in_the_order_of_their_submission() -> None:
    late, early = "60,a,u,1,10,Standard,", "5,b,u,1,10,Interactive,A100"
    assert read(HEAD, late, early) == [
        make_run(5, namespace="b", user="u", duration=10, priority=Priority.INTERACTIVE, gpu_model="A100"),
        make_run(60, namespace="a", user="u", duration=10),
    ]


def test_the_model_may_be_left_out() -> None:
    assert read(HEAD.removesuffix(",gpu_model"), "0,radiology,ana,2,3600,Standard") == [make_run(gpus=2)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x,a,u,1,10,Standard,", 'column submitted_s: "x" is not a number of at least 0'),
        ("nan,a,u,1,10,Standard,", 'column submitted_s: "nan"'),
        ("-1,a,u,1,10,Standard,", 'column submitted_s: "-1"'),
        ("0,,u,1,10,Standard,", "column namespace: is empty"),
        ("0,a,,1,10,Standard,", "column user: is empty"),
        ("0,a,u,0,10,Standard,", 'column gpus: "0" is not a number of at least 1'),
        ("0,a,u,1.5,10,Standard,", 'column gpus: "1.5" is not a whole number from 1 to 64'),
        ("0,a,u,1,0,Standard,", 'column duration_s: "0" is not a number of at least 1'),
        ("0,a,u,1,inf,Standard,", 'column duration_s: "inf"'),
        ("0,a,u,1,10,high,", 'column priority: "high" is not one of Interactive, Standard, Preemptible'),
        ("0,a,u,,10,Standard", 'column gpus: ""'),
        ("0,a,u", "column priority: "),
    ],
)
def test_an_error_names_file_line_and_column(line: str, words: str) -> None:
    with pytest.raises(TraceError) as error:
        read(HEAD, GOOD, line)
    assert str(error.value).startswith("t.csv, line 3, ")
    assert words in str(error.value)


def test_a_trace_that_is_wrong_all_over_says_ten_errors() -> None:
    with pytest.raises(TraceError) as error:
        read(HEAD, *["0,a,u,1,10,high,"] * 1000)
    assert len(str(error.value).splitlines()) == 11


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "no column submitted_s"),
        (["when,who"], "no column submitted_s, namespace, user, gpus, duration_s, priority; expected"),
        ([HEAD], "t.csv: has no runs"),
    ],
)
def test_what_is_no_trace_says_so(lines: list[str], words: str) -> None:
    with pytest.raises(TraceError, match=r"t\.csv") as error:
        read(*lines)
    assert words in str(error.value)


def test_nodes_are_as_many_as_their_groups_say() -> None:
    nodes = read_nodes("[{count: 2, gpus: 8, model: A100, memory: 80Gi}, {gpus: 4}]", name="n.yaml")
    assert [(node.gpus, model_on(node, WHOLE), memory_on(node, WHOLE)) for node in nodes] == [
        (8, "A100", 80 * 1024),
        (8, "A100", 80 * 1024),
        (4, None, 0),
    ]
    assert len({node.meta.key for node in nodes}) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{count: 2}]", "0.gpus: Field required"),
        ("[{gpus: many}]", "0.gpus: "),
        ("[{gpus: 8}, {gpus: 8, gpu: 1}]", "1.gpu: Extra inputs"),
        ("[{gpus: 8, memory: lots}]", "0.memory: "),
        ("count: 2", "the file: "),
        ("", "the file: "),
        ("[]", "has no nodes"),
        ("[{", "is not YAML"),
    ],
)
def test_what_is_wrong_with_nodes_is_said(text: str, words: str) -> None:
    with pytest.raises(TraceError, match=r"n\.yaml") as error:
        read_nodes(text, name="n.yaml")
    assert words in str(error.value)
