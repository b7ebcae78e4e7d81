"""The filter language of the hub: the names of its columns, on the language of conditions that a Sweep's constraints
speak too.

    state == "Failed" and (params.batch_size >= 8 or metrics["val/dice"].best > 0.7) and not name ~ "unet*"
"""

from __future__ import annotations

from orkhaven.api.expressions import Node, QueryError, nearest, parse, parse_names
from orkhaven.hub.query.fields import FIELDS, METRIC_PARTS, REPEAT_PARTS, Group, Ref

_GROUPS = ("params", "metrics", "repeats")


def parse_filter(text: str) -> Node | None:
    """None for an empty text: everything. Raises QueryError."""
    return parse(text, _COLUMNS, what="a filter")


def parse_ref(text: str) -> Ref:
    """One column's name. Raises QueryError."""
    refs = parse_refs(text)
    if len(refs) != 1:
        raise QueryError(f"one column's name, not {len(refs)}", position=0)
    return refs[0]


def parse_refs(text: str) -> list[Ref]:
    """Columns' names, separated by commas. Raises QueryError."""
    return [ref for ref, _ in parse_names(text, _COLUMNS, signed=False)]


def parse_sort(text: str) -> list[tuple[Ref, bool]]:
    """Columns' names, separated by commas, and whether each is wanted descending: `-` before it. Raises QueryError."""
    return parse_names(text, _COLUMNS, signed=True)


class _Columns:
    """`Names` of what a run can be filtered by."""

    noun = "column"
    examples = 'such as state, params.lr or metrics["loss"].last'
    comparison = 'state == "Failed"'

    def begins(self, word: str) -> bool:
        return word in FIELDS or word in _GROUPS

    def ref(self, head: str, parts: list[str], position: int) -> Ref:
        if head == "params":
            if not parts:
                raise QueryError("say which parameter: params.NAME", position=position)
            return Ref(Group.PARAM, ".".join(parts))
        if head == "metrics":
            if len(parts) < 2 or parts[-1] not in METRIC_PARTS:
                hint = nearest(parts[-1], METRIC_PARTS) if len(parts) >= 2 else ""
                raise QueryError(
                    f'say which number of which metric: metrics["NAME"].{" or .".join(METRIC_PARTS)}{hint}',
                    position=position,
                )
            return Ref(Group.METRIC, ".".join(parts[:-1]), parts[-1])
        if head == "repeats":
            if len(parts) != 1 or parts[0] not in REPEAT_PARTS:
                raise QueryError("repeats has .n, .mean and .std", position=position)
            return Ref(Group.REPEATS, parts[0])
        if head not in FIELDS:
            known = [*FIELDS, *_GROUPS]
            raise QueryError(
                f"there is no column {head}{nearest(head, known) or '; columns are ' + ', '.join(known)}"
                "; a parameter is params.NAME",
                position=position,
            )
        if parts:
            raise QueryError(f"{head} has no parts; write {head} alone", position=position)
        return Ref(Group.FIELD, head)


_COLUMNS = _Columns()
