"""Which request goes where, and what every kind has: get, list, change, delete, its actions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from unterbau.lab.cloud import bodies, faults, listing, shown, work
from unterbau.lab.cloud.answer import ApiError, Record
from unterbau.lab.cloud.bodies import B, Body
from unterbau.lab.cloud.listing import Query
from unterbau.lab.cloud.project import Project

Reply = tuple[int, Record | None]  # status and content
Show = Callable[[Project, Record], Record]

ACTION_FIELDS = ("id", "command", "status", "progress", "started", "finished")


@dataclass(frozen=True)
class Call:
    """A request on its way through: `number` and `action` are the ids in its path, `path` the path itself."""

    project: Project
    path: str
    query: Query
    content: bytes
    number: int = 0
    action: int = 0

    def read(self, model: type[B]) -> B:
        """The body."""
        return bodies.read(model, self.content)


Handler = Callable[[Call], Reply]
RecordHandler = Callable[[Call, Record], Reply]


@dataclass(frozen=True)
class Kind:
    """A kind of thing, and what can be done with it beside listing. What is None is not routed."""

    plural: str
    singular: str
    show: Show = shown.same
    filters: tuple[str, ...] = ("name",)
    sorts: tuple[str, ...] = ("id", "name", "created")
    create: Handler | None = None
    changed: type[Body] | None = None
    after_change: Callable[[Project, Record], None] | None = None
    delete: RecordHandler | None = None
    actions: Mapping[str, RecordHandler] = field(default_factory=dict)

    def one(self, project: Project, record: Record) -> Record:
        """{singular: the record as it is shown}."""
        return {self.singular: self.show(project, record)}


@dataclass(frozen=True)
class Route:
    """A method, a pattern of paths with the groups `number` and `action`, and who answers."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler


def route(method: str, path: str, handler: Handler) -> Route:
    """With {number} and {action} in a path, such as "/servers/{number}"."""
    return Route(method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[1-9][0-9]{0,17})", path)), handler)


def routes(kind: Kind) -> list[Route]:
    """All routes of a kind."""
    path = f"/{kind.plural}"
    found = [route("GET", path, lambda call: _list(kind, call)), route("GET", f"{path}/{{number}}", _get(kind))]
    if kind.create:
        found.append(route("POST", path, kind.create))
    if kind.changed:
        found.append(route("PUT", f"{path}/{{number}}", lambda call: _put(kind, call)))
    if kind.delete:
        found.append(route("DELETE", f"{path}/{{number}}", _on_record(kind, kind.delete)))
    for name, handler in kind.actions.items():
        found.append(route("POST", f"{path}/{{number}}/actions/{name}", _on_record(kind, handler)))
    return found + (_action_routes(kind, path) if kind.actions else [])


def _action_routes(kind: Kind, path: str) -> list[Route]:
    return [
        route("GET", f"{path}/actions", lambda call: _actions(kind.plural, call, None)),
        route("GET", f"{path}/actions/{{action}}", get_action),
        route("GET", f"{path}/{{number}}/actions", lambda call: _actions(kind.plural, call, call.number)),
        route("GET", f"{path}/{{number}}/actions/{{action}}", get_action),
    ]


def _on_record(kind: Kind, handler: RecordHandler) -> Handler:
    return lambda call: handler(call, call.project.get(kind.plural, call.number))


def _get(kind: Kind) -> Handler:
    return _on_record(kind, lambda call, record: (200, kind.one(call.project, record)))


def _list(kind: Kind, call: Call) -> Reply:
    records = [kind.show(call.project, record) for record in call.project.all(kind.plural)]
    return 200, answer_list(call, kind.plural, records, kind.filters, kind.sorts)


def answer_list(
    call: Call, name: str, records: list[Record], filters: tuple[str, ...], sorts: tuple[str, ...]
) -> Record:
    """One page of what a query asks for."""
    chosen = listing.filtered(records, call.query, filters)
    page, meta = listing.paged(listing.ordered(chosen, call.query, sorts), call.query)
    return {name: page, "meta": meta}


def _actions(kind: str, call: Call, number: int | None) -> Reply:
    found = work.of_kind(call.project, kind, number)
    return 200, answer_list(call, "actions", found, ("id", "status"), ACTION_FIELDS)


def get_action(call: Call) -> Reply:
    """One action."""
    return 200, {"action": call.project.get("actions", call.action)}


def get_actions(call: Call) -> Reply:
    """Actions by their ids; the API has no list of all of them."""
    if not call.query.get("id"):
        raise ApiError("invalid_input", "at least one id is needed", {"fields": [{"name": "id"}]})
    return 200, answer_list(call, "actions", call.project.all("actions"), ("id", "status"), ACTION_FIELDS)


def _put(kind: Kind, call: Call) -> Reply:
    assert kind.changed is not None  # noqa: S101  # else there is no such route
    record = call.project.get(kind.plural, call.number)
    given = call.read(kind.changed).model_dump(exclude_unset=True)
    values = {name: value for name, value in given.items() if value is not None or name == "description"}
    if "name" in values:
        call.project.check_name(kind.plural, values["name"], record["id"])
    record.update(values)
    if kind.after_change:
        kind.after_change(call.project, record)
    return 200, kind.one(call.project, record)


def check_deletable(call: Call, kind: str, record: Record) -> None:
    """Refuse what is protected, and what is at work."""
    if record["protection"]["delete"]:
        raise ApiError("protected", f"{kind.removesuffix('s')} {record['name']} is delete protected")
    work.check_free(call.project, kind, record["id"])


def find(table: list[Route], method: str, path: str) -> tuple[Handler, dict[str, int]]:
    """Who answers, with the ids in the path; not_found if nobody does."""
    for one in table:
        if one.method == method and (found := one.pattern.fullmatch(path)):
            return one.handler, {name: int(value) for name, value in found.groupdict().items()}
    raise ApiError("not_found", f"there is no {method} {path}")


def answered(call: Call, table: list[Route], method: str) -> Reply:
    """Do what a request asks for, with the faults that lie on its way."""
    faults.before(call.project, method, call.path)
    handler, numbers = find(table, method, call.path)
    reply = handler(replace(call, number=numbers.get("number", 0), action=numbers.get("action", 0)))
    faults.after(call.project, method, call.path)
    return reply
