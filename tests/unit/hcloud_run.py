"""Operations of `@hcloud` on the lab's cloud in this process: facts and commands as pyinfra reads and runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host
from requests.adapters import HTTPAdapter

from tests.unit.hcloud_answers import patient
from unterbau.changes import Record, recording
from unterbau.connectors.hcloud import HcloudConnector
from unterbau.lab.cloud.api import CloudApi
from unterbau.lab.cloud.faults import Fault
from unterbau.secrets.hidden import Hidden

TOKEN = "token-of-the-lab-0123456789abcdef"
CLUSTER = "prod"


class KilledError(BaseException):
    """The run ends here, as if by kill -9."""


@dataclass
class Cloud:
    """The lab's cloud, with a connector of one run; `again` begins another one."""

    api: CloudApi
    kill_at: int = -1  # at which request of this run
    before: bool = True  # whether the killed one is still carried out
    asked: list[str] = field(default_factory=list)
    one: HcloudConnector = field(init=False)

    def __post_init__(self) -> None:
        self.again()

    def again(self, *, kill_at: int = -1, before: bool = True) -> None:
        """Another run: nothing of the last one is remembered."""
        self.kill_at, self.before, self.asked = kill_at, before, []
        self.one = object.__new__(HcloudConnector)
        declared = SimpleNamespace(
            name="production",
            cluster=CLUSTER,
            endpoint="https://cloud.invalid/v1",
            ca="",
            token=SimpleNamespace(name="t"),
        )
        self.one.state = SimpleNamespace(current_stage=StateStage.Prepare)  # type: ignore[assignment]
        host = SimpleNamespace(name="production", print_prefix="", data=SimpleNamespace(cloud=declared))
        self.one.host = host  # type: ignore[assignment]
        self.one._keyring = lambda: SimpleNamespace(value=lambda name: Hidden(TOKEN))  # type: ignore[assignment, method-assign, return-value]

    def send(self, request: requests.PreparedRequest) -> requests.Response:
        """What stands in place of the network. All that is due is done before the next request."""
        parts = urlsplit(str(request.url))
        self.asked.append(f"{request.method} {parts.path.removeprefix('/v1')}")
        killed = len(self.asked) - 1 == self.kill_at
        if killed and self.before:
            raise KilledError
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        answer = self.api.handle(str(request.method), parts.path, parse_qs(parts.query), headers, body)
        if killed:
            raise KilledError
        self.api.settle()
        if answer.cut:
            raise requests.exceptions.ChunkedEncodingError("the connection broke")
        response = requests.Response()
        response.status_code, response.request, response.url = answer.status, request, str(request.url)
        response.headers.update(answer.headers)
        response._content = answer.body
        return response

    def ran(self, command: str | StringCommand) -> tuple[bool, str]:
        """(whether it was done, the answer or the sentence)."""
        done, output = self.one.run_shell_command(
            command if isinstance(command, StringCommand) else StringCommand(command)
        )
        return done, output.output

    def all(self, kind: str) -> list[dict[str, Any]]:
        """What is there, asked past the connector."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        found: list[dict[str, Any]] = []
        page: int | None = 1
        while page:
            answer = json.loads(
                self.api.handle("GET", f"/v1/{kind}", {"page": [str(page)], "per_page": ["50"]}, headers, b"").body
            )
            found += answer[kind]
            page = answer["meta"]["pagination"]["next_page"]
        return found

    def names(self, kind: str) -> list[str]:
        """Of all that are there, sorted."""
        return sorted(one["name"] for one in self.all(kind))

    def make(self, kind: str, **body: Any) -> dict[str, Any]:
        """Somebody else's doing."""
        return self.do("POST", kind, **body)

    def do(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """A request past the connector, and all that follows from it."""
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        answer = self.api.handle(method, f"/v1/{path}", {}, headers, json.dumps(body).encode())
        self.api.settle()
        assert answer.status < 300, answer.body
        return dict(json.loads(answer.body)) if answer.body else {}

    def fault(self, kind: str, **where: Any) -> None:
        """Something goes wrong from now on."""
        self.api.add_fault(Fault.model_validate({"kind": kind, **where}))


@dataclass
class Host:
    """What facts and operations ask of pyinfra's host."""

    cloud: Cloud
    name: str = "production"
    noops: list[str] = field(default_factory=list)

    def get_fact(self, wanted: type[FactBase[Any]], /, **arguments: Any) -> Any:
        fact = wanted()
        done, said = self.cloud.ran(str(fact.command(**arguments)))
        try:
            return fact.process([said]) if done else fact.default()
        except FactProcessError:
            return fact.default()

    def noop(self, said: str) -> None:
        self.noops.append(said)


@dataclass
class Ran:
    """What an operation said and did."""

    said: Record
    noops: list[str]
    commands: list[str] = field(default_factory=list)
    error: str = ""  # of the first command that failed

    @property
    def refused(self) -> str:
        """Why nothing was done."""
        return "; ".join([*self.said.refusals, *(rule.arithmetic for rule in self.said.rules if not rule.passed)])

    @property
    def changes(self) -> dict[str, tuple[str | None, str | None]]:
        """{subject: (old, new)}; of a text None and its diff."""
        return {
            one.subject: (getattr(one, "old", None), getattr(one, "new", getattr(one, "diff", None)))
            for one in self.said.changes
        }


def ran(cloud: Cloud, operation: Callable[..., Any], *arguments: Any, **more: Any) -> Ran:
    """Run it. A refused one does nothing."""
    host = Host(cloud)
    with ctx_host.use(host), recording() as record:
        cluster = {"cluster": CLUSTER} if "cluster" in signature(operation._inner).parameters else {}  # type: ignore[attr-defined]
        commands = list(operation._inner(*arguments, **cluster, **more))  # type: ignore[attr-defined]
        one = Ran(record, host.noops)
        for command in commands if not one.refused else ():
            if not isinstance(command, StringCommand):
                continue  # a rule that passed
            one.commands.append(str(command))
            done, said = cloud.ran(command)
            if not done:
                one.error = said
                break
    return one


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An empty project."""
    made = Cloud(CloudApi(TOKEN))
    monkeypatch.setattr(HTTPAdapter, "send", lambda self, request, **options: made.send(request))
    patient(monkeypatch)
    return made
