"""Answers of a cloud's API in the order in which they are asked for, put where `requests` would open a connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from pyinfra.api import StringCommand
from pyinfra.api.state import StateStage
from requests.adapters import HTTPAdapter

from unterbau.connectors import hcloud_client, hcloud_objects
from unterbau.connectors.hcloud import HcloudConnector
from unterbau.secrets.hidden import Hidden

OURS = {"managed-by": "unterbau", "cluster": "prod"}
TOKEN = "token-of-the-project-0123456789"  # of nobody
BROKEN = requests.ConnectionError("the connection was closed")
FIRST = "page=1&per_page=50"


def server(number: int, name: str = "", **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name or f"prod-servers-{number}", "labels": OURS, "status": "running", **more}


def new(name: str = "prod-servers-1", **more: Any) -> str:
    return f"POST servers {json.dumps({'name': name, 'labels': OURS, **more})}"


def refused(code: str, message: str = "no", status: int = 409, **details: Any) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": message, "details": details or None}}


def listed(kind: str, *objects: dict[str, Any], total: int | None = None, following: int | None = None) -> Any:
    page = {"total_entries": len(objects) if total is None else total, "next_page": following}
    return 200, {kind: list(objects), "meta": {"pagination": page}}


def action(number: int, status: str = "success", **more: Any) -> dict[str, Any]:
    return {"id": number, "command": "do_it", "status": status, "progress": 50, "error": None, **more}


@dataclass
class Api:
    """Each "METHOD /path" has its answers; the last one is given again and again. An exception is raised."""

    answers: dict[str, list[Any]]
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    sent: list[requests.PreparedRequest] = field(default_factory=list)

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        what = f"{request.method} {parts.path.removeprefix('/v1')}{'?' * bool(parts.query)}{parts.query}"
        self.asked.append((what, json.loads(request.body) if request.body else None))
        self.sent.append(request)
        left = self.answers.get(what) or [refused("not_found", f"nothing at {what}", 404)]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return self._response(request, *answer)

    def _response(self, request: requests.PreparedRequest, status: int, body: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, str(request.url)
        response.headers.update(self.headers)
        response._content = json.dumps(body).encode() if body is not None else b""
        return response

    @property
    def calls(self) -> list[str]:
        return [what for what, _ in self.asked]


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits, waits for nothing, and finds that the time has passed."""
    clock = [0.0]

    def sleep(seconds: float = 0) -> None:
        clock[0] += seconds

    monkeypatch.setattr(hcloud_client.gevent, "sleep", sleep)
    monkeypatch.setattr("hcloud._client.time", SimpleNamespace(sleep=sleep))
    for module in (hcloud_client, hcloud_objects):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))


def made(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[Any]], **headers: str) -> tuple[HcloudConnector, Api]:
    """A connector whose requests these answers meet, and which waits for nothing."""
    api = Api(answers, {name.replace("_", "-"): value for name, value in headers.items()})
    monkeypatch.setattr(HTTPAdapter, "send", lambda self, request, **options: api.send(request, **options))
    patient(monkeypatch)
    one = object.__new__(HcloudConnector)
    declared = SimpleNamespace(
        name="production", cluster="prod", endpoint="https://cloud.invalid/v1", ca="", token=SimpleNamespace(name="t")
    )
    one.state = SimpleNamespace(current_stage=StateStage.Prepare)  # type: ignore[assignment]
    one.host = SimpleNamespace(name="production", print_prefix="", data=SimpleNamespace(cloud=declared))  # type: ignore[assignment]
    monkeypatch.setattr(one, "_keyring", lambda: SimpleNamespace(value=lambda name: Hidden(TOKEN)))
    return one, api


def ran(one: HcloudConnector, command: str | StringCommand) -> tuple[bool, Any]:
    """(whether it was done, the answer or the sentence)."""
    done, output = one.run_shell_command(command if isinstance(command, StringCommand) else StringCommand(command))
    return done, json.loads(output.output) if done else output.output


def pages(kind: str, objects: list[dict[str, Any]], size: int = 50) -> Iterator[tuple[str, list[Any]]]:
    """The answers that list these objects page by page."""
    count = max(1, -(-len(objects) // size))
    for page in range(1, count + 1):
        part = objects[(page - 1) * size : page * size]
        following = page + 1 if page < count else None
        yield (
            f"GET /{kind}?page={page}&per_page={size}",
            [listed(kind, *part, total=len(objects), following=following)],
        )
