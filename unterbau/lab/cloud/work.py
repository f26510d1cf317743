"""Actions: what a request sets going, one after the other for each resource. Source: Hetzner Cloud API, "Actions".

An action's work is kept in the state, by the name of an effect and its arguments, until it is done. So a restart in the
middle of it does it again, from its beginning: every effect may be done twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from unterbau.lab.cloud import faults
from unterbau.lab.cloud.answer import ApiError, Record
from unterbau.lab.cloud.project import PLURAL, SINGULAR, Project

Key = tuple[str, int]  # kind and id of what is changed


@dataclass(frozen=True)
class Effect:
    """What an action does when its turn comes: the name of a function of effects.py and its arguments (JSON values)."""

    name: str
    arguments: Record


def start(project: Project, command: str, effect: Effect, *resources: Key, after: Record | None = None) -> Record:
    """Begin an action on the first of these resources; the others are only named in it.

    With `after`, it follows that action and fails with it; without, the first resource must be free.
    """
    if after is None:
        check_free(project, *resources[0])
    action = project.add("actions", _action(project, command, resources))
    _plan(project, effect, resources[0], action, after)
    return action


def _action(project: Project, command: str, resources: Sequence[Key]) -> Record:
    named = [{"id": number, "type": SINGULAR[kind]} for kind, number in resources]
    return {
        "command": command, "status": "running", "progress": 0, "started": project.now(), "finished": None,
        "resources": named, "error": None,
    }  # fmt: skip


def _plan(project: Project, effect: Effect, key: Key, action: Record | None, after: Record | None) -> None:
    command = action["command"] if action else None
    slow = faults.strike(project, "slow", command=command) if action else None
    failing = faults.strike(project, "failing", command=command) if action else None
    until = project.clock() + timedelta(seconds=slow["seconds"]) if slow else None
    project.pending.append({
        "action": action and action["id"], "effect": effect.name, "arguments": effect.arguments, "key": list(key),
        "after": after and after["id"], "not_before": until and until.isoformat(),
        "fails": failing and failing["code"],
    })  # fmt: skip


def quietly(project: Project, effect: Effect, key: Key) -> None:
    """Work that no action tells of, such as a firewall which a changed label brings."""
    _plan(project, effect, key, None, None)


def check_free(project: Project, kind: str, number: int) -> None:
    """Refuse what is at work already: conflict for a network, locked for the rest."""
    if any(item["key"] == [kind, number] and item["action"] for item in project.pending):
        code = "conflict" if kind == "networks" else "locked"
        raise ApiError(code, f"{SINGULAR[kind]} {number} is locked: an action is running")


def due(project: Project, claimed: Sequence[Record]) -> Record | None:
    """The next work that may begin; None if all of it is done, claimed, or has to wait."""
    waiting: list[list[object]] = [item["key"] for item in claimed]
    for item in project.pending:
        if item["key"] not in waiting and _is_time(project, item):
            return item
        waiting.append(item["key"])
    return None


def _is_time(project: Project, item: Record) -> bool:
    before = project.tables["actions"].get(item["after"]) if item["after"] else None
    if before and before["status"] == "running":
        return False
    return item["not_before"] is None or project.clock() >= datetime.fromisoformat(item["not_before"])


def next_at(project: Project) -> datetime | None:
    """When the first work that waits for its time may begin; None if none waits."""
    times = [datetime.fromisoformat(item["not_before"]) for item in project.pending if item["not_before"]]
    return min(times, default=None)


def blocked(project: Project, item: Record) -> tuple[str, str] | None:
    """Why a work must not be done: (code, message) of its own fault, or of the action that it follows."""
    if item["fails"]:
        return item["fails"], "the lab was told to let this action fail"
    before = project.tables["actions"].get(item["after"]) if item["after"] else None
    if before and before["status"] == "error":
        return before["error"]["code"], f"action {before['id']} ({before['command']}) failed before it"
    return None


def finish(project: Project, item: Record, error: tuple[str, str] | None = None) -> None:
    """The work is done, or failed with (code, message)."""
    project.pending.remove(item)
    action = project.tables["actions"].get(item["action"]) if item["action"] else None
    if action is None:
        return
    status = "error" if error else "success"
    action.update(status=status, progress=100, finished=project.now())
    if error:
        action["error"] = {"code": error[0], "message": error[1]}


def of_kind(project: Project, kind: str, number: int | None = None) -> list[Record]:
    """The actions that concern a kind, or one of it."""

    def concerns(resource: Record) -> bool:
        return PLURAL[resource["type"]] == kind and number in {None, resource["id"]}

    return [one for one in project.all("actions") if any(concerns(resource) for resource in one["resources"])]
