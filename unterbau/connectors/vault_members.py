"""The members of a Vault cluster: which one is active, and a stream to it through any node that can be reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent
import requests
from paramiko import SSHException, Transport
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from unterbau.connectors.endpoint import NotThereError
from unterbau.connectors.node import NodeConnector
from unterbau.connectors.tunnel import OPEN_TIMEOUT_S, ChannelSocket, open_channel, session, tls_context

LOOK_AGAIN_S = 0.25
HEALTH = "/v1/sys/health?standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200"


@dataclass(frozen=True)
class Member:
    """One server: its node, and where its API listens."""

    host: Host
    port: int

    @property
    def address(self) -> str:
        """Its address, which its certificate names."""
        return str(self.host.data.node.address)

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"https://{self.address}:{self.port}"


class Members:
    """The nodes of one group, as ways in and as servers."""

    def __init__(self, state: State, group: str, port: int, roots: Callable[[], Sequence[str]]) -> None:
        self._state, self._roots = state, roots
        self.all = [Member(host, port) for host in state.inventory.get_group(group)]
        self._own: dict[str, NodeConnector] = {}  # of nodes that the run's limit left out
        self._looked_for_others = False
        self._bad_ways: set[Transport] = set()

    def open(self, address: str, port: int) -> ChannelSocket:
        """A stream to a member, through its own node if that is connected, else through another; OSError."""
        nearest = next((m.host.name for m in self.all if m.address == address), None)
        ways = self._ways(nearest)
        found = ["no node of its group is connected"] if not ways else []
        for name, transport in ways:
            try:
                stream = open_channel(transport, address, port)
            except ConnectionRefusedError:
                raise
            except OSError as error:
                found.append(f"through {name}: {error}")
                if name == nearest and "Timeout" in str(error):  # of another node it says nothing about this one
                    self._bad_ways.add(transport)
            else:
                self._bad_ways.discard(transport)
                return stream
        raise OSError("; ".join(found))

    def active(self, patience_s: float) -> Member:
        """The member that answers requests, waiting for an election if there is one; NotThereError with what is there.

        Nobody is waited for where no member answers at all while a run is only planned.
        """
        deadline = time.monotonic() + patience_s
        while True:
            found = self.look()
            if member := next((m for m in self.all if found[m.host.name] == "active"), None):
                return member
            if time.monotonic() >= deadline:
                states = ", ".join(f"{name} {state}" for name, state in sorted(found.items()))
                raise NotThereError(
                    f"cannot reach Vault's API: no member is active; found {states}; look at `unterbau vault status`"
                )
            gevent.sleep(LOOK_AGAIN_S)

    def answers(self) -> bool:
        """Whether any member answers, whatever it says."""
        return any(state in ("active", "standby", "sealed", "not initialised") for state in self.look().values())

    def lock(self, holder: str) -> None:
        """Hold the nodes that the run's limit left out; ConnectError with the holder if another run has one.

        One by one and in the same order, so that of two runs at once one gets all of them.
        """
        self._connect_left_out()
        for _name, connector in sorted(self._own.items()):
            connector.lock(holder)

    @property
    def unguarded(self) -> bool:
        """Whether this run held members for the API's sake only, and has lost all of them."""
        held = any(self._state.is_host_in_limit(member.host) and member.host.connected for member in self.all)
        return not held and bool(self._own) and all(connector.lock_lost for connector in self._own.values())

    def close(self) -> None:
        """Leave the nodes that were connected for this only."""
        for connector in self._own.values():
            with suppress(OSError, EOFError, SSHException):
                connector.disconnect()
        self._own.clear()

    def look(self, *, every: bool = False) -> dict[str, str]:
        """{node: what its server is}, all asked at once.

        As soon as one is active the others are not waited for, unless `every` one is wanted.
        """
        context = tls_context(self._roots())
        self._ways(None)  # connects the nodes that the limit left out before anybody needs one
        asked = {gevent.spawn(self._ask, member, context): member for member in self.all}
        found = {member.host.name: "does not answer" for member in self.all}
        for done in gevent.iwait(list(asked), timeout=3 * OPEN_TIMEOUT_S):
            found[asked[done].host.name] = done.value or "does not answer"
            if done.value == "active" and not every:
                break
        gevent.killall(list(asked), block=False)
        return found

    def _ask(self, member: Member, context: Any) -> str:
        try:
            with session(self.open, context) as http:
                answer = http.get(member.url + HEALTH, timeout=OPEN_TIMEOUT_S)
                health = answer.json()
        except (requests.RequestException, ValueError) as error:
            return f"does not answer ({_reason(error)})"
        if not health.get("initialized"):
            return "not initialised"
        return "sealed" if health.get("sealed") else "standby" if health.get("standby") else "active"

    def _ways(self, nearest: str | None) -> list[tuple[str, Transport]]:
        """The nearest first; last those that fell silent, for one that is back."""
        ways = {m.host.name: t for m in self.all if (t := _transport(m.host.connector)) is not None}
        if not any(t not in self._bad_ways for t in ways.values()):
            self._connect_left_out()
        ways |= {name: t for name, connector in self._own.items() if (t := _transport(connector)) is not None}
        return sorted(ways.items(), key=lambda way: (way[1] in self._bad_ways, way[0] != nearest, way[0]))

    def _connect_left_out(self) -> None:
        """Connect the nodes that the run's limit left out, for this endpoint alone; once."""
        if self._looked_for_others:
            return
        self._looked_for_others = True
        left_out = [m.host for m in self.all if not self._state.is_host_in_limit(m.host)]
        gevent.joinall([gevent.spawn(self._connect, host) for host in left_out])

    def _connect(self, host: Host) -> None:
        connector = NodeConnector(self._state, host)
        with suppress(ConnectError):
            connector.connect()
            self._own[host.name] = connector


def _transport(connector: Any) -> Transport | None:
    client = getattr(connector, "client", None)
    transport = client.get_transport() if client is not None else None
    return transport if transport is not None and transport.is_active() else None


def _reason(error: BaseException) -> str:
    """The innermost words of an exception of requests, urllib3 or ssl."""
    inner = getattr(error.args[0], "reason", None) if error.args else None
    return str(inner or error).rpartition("): ")[2] or str(error)
