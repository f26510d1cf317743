"""The nodes that a run's limit left out and that it needs all the same, to reach or to hold: each connected once a run.

Endpoints reach their API through them; and of servers that are changed one at a time, a run holds all.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import gevent
from gevent.lock import RLock
from paramiko import SSHException
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from unterbau.connectors.node import NodeConnector

UNREACHABLE = (ConnectError, OSError, EOFError, SSHException)


class LeftOut:
    """Those of one run. They stay out of the run itself: pyinfra does not know of these connections."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._asked: dict[
            str, gevent.Greenlet[..., NodeConnector | None]
        ] = {}  # by name; its value is the connector, or None
        self._held: set[str] = set()
        self._locking = RLock()  # two endpoints of one run may want the same node at once

    def connected(self, hosts: Iterable[Host]) -> dict[str, NodeConnector]:
        """{name: its connection} of those of `hosts` that can be reached; who cannot is not tried again."""
        wanted = list(hosts)
        for host in wanted:
            if host.name not in self._asked:
                self._asked[host.name] = gevent.spawn(self._connect, host)
        gevent.joinall([self._asked[host.name] for host in wanted])
        found = {host.name: self._asked[host.name].value for host in wanted}
        return {name: connector for name, connector in found.items() if connector is not None}

    def lock(self, hosts: Iterable[Host], holder: str) -> None:
        """Hold those that can be reached; ConnectError with the holder if another run has one.

        One by one and in the same order, so that of two runs at once one gets all of them.
        """
        with self._locking:
            for name, connector in sorted(self.connected(hosts).items()):
                if name not in self._held:
                    connector.lock(holder)
                    self._held.add(name)

    def close(self) -> None:
        """Leave them; what the run held there is free with that."""
        asked, self._asked, self._held = self._asked, {}, set()
        for connector in (one.value for one in asked.values()):
            if connector is not None:
                with suppress(*UNREACHABLE):
                    connector.disconnect()

    def _connect(self, host: Host) -> NodeConnector | None:
        connector = NodeConnector(self._state, host)
        with suppress(*UNREACHABLE):
            connector.connect()
            return connector
        return None


def left_out(state: State) -> LeftOut:
    """Those of this run, the same whoever asks."""
    found: LeftOut = vars(state).setdefault("unterbau_left_out", LeftOut(state))
    return found
