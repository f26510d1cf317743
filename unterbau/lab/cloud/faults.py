"""What goes wrong on demand. A fault is a record in the project's state, so it outlives a restart.

{id, kind, times, ...}: `times` counts down and the fault is gone at 0; None: until it is taken away. The kinds, and
what they may be narrowed to (None or left out: any):

- rate_limited (method, path): 429 before anything is done
- error (method, path, status): 500, 502, 503 or 504 before anything is done
- lost_answer (method, path, status): the same, after everything is done
- dropped_page (path, page): the connection breaks in the middle of a list's page
- sold_out (server_type, location, shown): resource_unavailable; `shown`: the catalogue says so too
- no_placement (server_type, location): placement_error
- slow (command, seconds): the action runs that much longer
- failing (command, code): the action fails, and does nothing
- half_created (server_type, location): the server is there, create_server and all that follows it fail
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unterbau.lab.cloud.answer import ApiError, Record
from unterbau.lab.cloud.bodies import Body
from unterbau.lab.cloud.project import Project

CODES = {500: "server_error", 502: "bad_gateway", 503: "unavailable", 504: "timeout"}

Kind = Literal[
    "rate_limited", "error", "lost_answer", "dropped_page", "sold_out", "no_placement", "slow", "failing",
    "half_created",
]  # fmt: skip


class Fault(Body):
    """A fault as it is asked for. `path` is a request's beginning, as in "/servers"."""

    kind: Kind
    times: Annotated[int, Field(ge=1)] | None = None
    method: Literal["GET", "POST", "PUT", "DELETE"] | None = None
    path: str | None = None
    page: int | None = None
    status: Literal[500, 502, 503, 504] = 502
    server_type: str | None = None
    location: str | None = None
    shown: bool = False
    command: str | None = None
    code: str = "action_failed"
    seconds: Annotated[float, Field(gt=0)] = 60.0


def add(project: Project, fault: Fault) -> Record:
    """Switch a fault on."""
    record = {"id": project.next_id, **fault.model_dump()}
    project.next_id += 1
    project.faults.append(record)
    return record


def remove(project: Project, number: int | None) -> None:
    """Switch one off, or all with None."""
    project.faults[:] = [one for one in project.faults if number is not None and one["id"] != number]


def strike(project: Project, kind: Kind, **where: object) -> Record | None:
    """The fault of this kind that is on here, counted down; None if all is well."""
    for fault in project.faults:
        if fault["kind"] == kind and all(_meets(fault[name], value, name) for name, value in where.items()):
            _count(project, fault)
            return fault
    return None


def _meets(wanted: object, value: object, name: str) -> bool:
    if wanted is None:
        return True
    return str(value).startswith(str(wanted)) if name == "path" else wanted == value


def _count(project: Project, fault: Record) -> None:
    if fault["times"] is not None:
        fault["times"] -= 1
        if fault["times"] == 0:
            project.faults.remove(fault)


def before(project: Project, method: str, path: str) -> None:
    """Refuse a request that meets a fault before anything is done."""
    if strike(project, "rate_limited", method=method, path=path):
        raise ApiError("rate_limit_exceeded", "limit of requests is exceeded")
    if fault := strike(project, "error", method=method, path=path):
        raise failure(fault)


def after(project: Project, method: str, path: str) -> None:
    """Refuse the answer to a request that is done."""
    if fault := strike(project, "lost_answer", method=method, path=path):
        raise failure(fault)


def failure(fault: Record) -> ApiError:
    """The error of Hetzner's side that a fault stands for."""
    return ApiError(CODES[fault["status"]], f"the lab was told to fail with {fault['status']}")


def placing(project: Project, server_type: str, location: str) -> None:
    """Refuse a server where there is no room for it."""
    if strike(project, "sold_out", server_type=server_type, location=location):
        raise ApiError("resource_unavailable", f"error during placement: no {server_type} in {location} at present")
    if strike(project, "no_placement", server_type=server_type, location=location):
        raise ApiError("placement_error", f"error during placement of {server_type} in {location}")
