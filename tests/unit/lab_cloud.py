"""A lab cloud on loopback with the official client in front of it; every answer is looked at on its way."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hcloud import APIException, Client
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.networks import BoundNetwork, NetworkSubnet
from hcloud.server_types import ServerType
from hcloud.servers import BoundServer

from tests.unit.lab_cloud_schema import answer_problems
from unterbau.lab.cloud.answer import Answer
from unterbau.lab.cloud.api import CloudApi
from unterbau.lab.cloud.http_face import listening, respond_as_api, working
from unterbau.lab.cloud.listing import Query

TOKEN = "t" * 64
FSN1 = Location(name="fsn1")
HEADERS = {"authorization": f"Bearer {TOKEN}"}


def public_key(word: str = "operator") -> str:
    """A key in OpenSSH's format; nobody has its other half."""
    kind = b"ssh-ed25519"
    content = len(kind).to_bytes(4, "big") + kind + (32).to_bytes(4, "big") + word.encode().ljust(32, b".")
    return f"ssh-ed25519 {base64.b64encode(content).decode()} {word}"


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class WatchedApi(CloudApi):
    """A cloud whose answers must have the shapes of Hetzner's."""

    def handle(self, method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes) -> Answer:
        answer = super().handle(method, path, query, headers, body)
        if answer.body:
            found = answer_problems(answer.json)
            assert not found, f"{method} {path}: {found}"
        else:
            assert answer.status == 204
        return answer

    def ask(self, method: str, path: str, body: str = "", **query: str) -> Any:
        """The answer's content, asked without a network; {} if it has none."""
        wanted = {name: [value] for name, value in query.items()}
        return self.handle(method, f"/v1{path}", wanted, HEADERS, body.encode()).json or {}


def client_of(url: str) -> Client:
    """The official client, which asks for an action's end as fast as it can."""
    return Client(TOKEN, api_endpoint=f"{url}/v1", poll_interval=0.01, poll_max_retries=1000)


@contextmanager
def served(api: CloudApi) -> Iterator[Client]:
    """A client of the cloud, which works while the context lasts."""
    with working(api), listening(respond_as_api(api)) as url:
        yield client_of(url)


def server_of(client: Client, name: str = "s", **options: object) -> BoundServer:
    made = client.servers.create(name, ServerType("cx32"), Image(name="debian-12"), location=FSN1, **options)  # type: ignore[arg-type]
    for action in (made.action, *made.next_actions):
        action.wait_until_finished()
    made.server.reload()
    return made.server


def network_of(client: Client) -> BoundNetwork:
    return client.networks.create("net", "10.0.0.0/16", [NetworkSubnet("10.0.0.0/24", "cloud", "eu-central")])


def code_of(error: pytest.ExceptionInfo[APIException]) -> str | int:
    return error.value.code
