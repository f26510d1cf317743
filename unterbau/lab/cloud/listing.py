"""Lists: filtered, sorted, in pages. Source: Hetzner Cloud API, "Sorting" and "Pagination"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unterbau.lab.cloud import selector
from unterbau.lab.cloud.answer import Record, invalid

PER_PAGE = 25
PER_PAGE_MOST = 50

Query = Mapping[str, Sequence[str]]


def filtered(records: list[Record], query: Query, fields: Sequence[str]) -> list[Record]:
    """Those that a query asks for, by exact values of `fields` and by label selector."""
    for name in fields:
        if wanted := query.get(name):
            records = [record for record in records if _plain(record.get(name)) in wanted]
    for text in query.get("label_selector", ()):
        chosen = _selector(text)
        records = [record for record in records if chosen.chooses(record["labels"])]
    return records


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _selector(text: str) -> selector.Selector:
    try:
        return selector.parse(text)
    except selector.SelectorError as error:
        raise invalid("label_selector", str(error)) from error


def ordered(records: list[Record], query: Query, fields: Sequence[str]) -> list[Record]:
    """Sorted by `sort=field[:asc|:desc]`, the first one given counting most; by id without one."""
    records = sorted(records, key=lambda record: _rank(record["id"]))
    for text in reversed(query.get("sort", ())):
        name, _, direction = text.partition(":")
        if name not in fields or direction not in {"", "asc", "desc"}:
            raise invalid("sort", f"cannot sort by {text!r}; these can be sorted by: {', '.join(fields)}")
        records.sort(key=lambda record: _rank(record[name]), reverse=direction == "desc")
    return records


def _rank(value: Any) -> tuple[bool, Any]:
    return value is not None, "" if value is None else value


def paged(records: list[Record], query: Query) -> tuple[list[Record], Record]:
    """One page, and the `meta` that says where it is."""
    page, per_page = _number(query, "page", 1), _number(query, "per_page", PER_PAGE)
    if per_page > PER_PAGE_MOST:
        raise invalid("per_page", f"{per_page} is too many, the most is {PER_PAGE_MOST}")
    last = max(1, -(-len(records) // per_page))
    pagination = {
        "page": page, "per_page": per_page, "last_page": last, "total_entries": len(records),
        "previous_page": min(page - 1, last) or None, "next_page": page + 1 if page < last else None,
    }  # fmt: skip
    return records[(page - 1) * per_page : page * per_page], {"pagination": pagination}


def _number(query: Query, name: str, usual: int) -> int:
    text = query.get(name, (str(usual),))[-1]
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise invalid(name, f"{text!r} is no number from 1")
    return int(text)
