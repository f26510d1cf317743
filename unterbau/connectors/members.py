"""The nodes of one group, each a server of one cluster: what each server says, and a stream to it through any node."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gevent
import requests
from paramiko import Transport
from pyinfra.api.host import Host
from pyinfra.api.state import State

from unterbau.connectors.left_out import left_out
from unterbau.connectors.node import NodeConnector
from unterbau.connectors.tunnel import OPEN_TIMEOUT_S, ChannelSocket, open_channel, session, tls_context

LOOK_AGAIN_S = 0.25
SILENT = "does not answer"


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


class Members(ABC):
    """The nodes of one group, as ways in and as servers."""

    best: ClassVar[str]  # what a server says that is as good as it gets: no other is waited for

    def __init__(self, state: State, group: str, port: int, roots: Callable[[], Sequence[str]]) -> None:
        self._state, self._roots = state, roots
        self.all = [Member(host, port) for host in state.inventory.get_group(group)]
        self._own: dict[str, NodeConnector] = {}  # of nodes that the run's limit left out
        self._bad_ways: set[Transport] = set()

    @abstractmethod
    def ask(self, member: Member, http: requests.Session) -> str:
        """What one server says of itself, in a word or two; RequestException or ValueError if it says nothing."""

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

    def lock(self, holder: str) -> None:
        """Hold the nodes that the run's limit left out; ConnectError with the holder if another run has one."""
        self._connect_left_out()
        left_out(self._state).lock(self._others, holder)

    @property
    def unguarded(self) -> bool:
        """Whether this run held members for the API's sake only, and has lost all of them."""
        held = any(self._state.is_host_in_limit(member.host) and member.host.connected for member in self.all)
        return not held and bool(self._own) and all(connector.lock_lost for connector in self._own.values())

    def close(self) -> None:
        """Leave the nodes that the limit left out: at the end of the run, for whoever needed them."""
        self._own.clear()
        left_out(self._state).close()

    def look(self, *, every: bool = False) -> dict[str, str]:
        """{node: what its server is}, all asked at once.

        As soon as one is the `best` there is the others are not waited for, unless `every` one is wanted. They end by
        their own limits: killed while they wait inside paramiko they would leave its locks released twice.
        """
        context = self._context()
        self._ways(None)  # connects the nodes that the limit left out before anybody needs one
        asked = {gevent.spawn(self._ask, member, context): member for member in self.all}
        found = {member.host.name: SILENT for member in self.all}
        for done in gevent.iwait(list(asked), timeout=3 * OPEN_TIMEOUT_S):
            found[asked[done].host.name] = done.value or SILENT
            if done.value == self.best and not every:
                break
        return found

    def _context(self) -> ssl.SSLContext:
        """What a server is asked with: nobody in particular asks."""
        return tls_context(self._roots())

    def _ask(self, member: Member, context: ssl.SSLContext) -> str:
        try:
            with session(self.open, context) as http:
                return self.ask(member, http)
        except (requests.RequestException, ValueError) as error:
            return f"{SILENT} ({_reason(error)})"

    def _ways(self, nearest: str | None) -> list[tuple[str, Transport]]:
        """The nearest first; last those that fell silent, for one that is back."""
        ways = {m.host.name: t for m in self.all if (t := _transport(m.host.connector)) is not None}
        if not any(t not in self._bad_ways for t in ways.values()):
            self._connect_left_out()
        ways |= {name: t for name, connector in self._own.items() if (t := _transport(connector)) is not None}
        return sorted(ways.items(), key=lambda way: (way[1] in self._bad_ways, way[0] != nearest, way[0]))

    def _connect_left_out(self) -> None:
        """Connect the nodes that the run's limit left out; once a run."""
        self._own.update(left_out(self._state).connected(self._others))

    @property
    def _others(self) -> list[Host]:
        return [m.host for m in self.all if not self._state.is_host_in_limit(m.host)]


def _transport(connector: Any) -> Transport | None:
    client = getattr(connector, "client", None)
    transport = client.get_transport() if client is not None else None
    return transport if transport is not None and transport.is_active() else None


def _reason(error: BaseException) -> str:
    """The innermost words of an exception of requests, urllib3 or ssl."""
    inner = getattr(error.args[0], "reason", None) if error.args else None
    return str(inner or error).rpartition("): ")[2] or str(error)
