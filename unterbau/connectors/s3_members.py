"""How an S3 endpoint is reached: through the nodes that serve it, or directly where it is a service elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar
from urllib.parse import urlsplit

import gevent
import requests
from pyinfra.api.state import State
from typing_extensions import override

from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S, SILENT, Member, Members
from unterbau.connectors.tunnel import OPEN_TIMEOUT_S, connect_directly, public_context, session, tls_context

HEALTHY = "healthy"


class ThroughNodes(Members):
    """Servers on nodes of a group. One that has write quorum is preferred, then one that answers at all."""

    best = HEALTHY

    def __init__(self, state: State, group: str, port: int, roots: Callable[[], Sequence[str]], health: str) -> None:
        super().__init__(state, group, port, roots)
        self._health = health

    @property
    def names(self) -> dict[str, str]:
        """See Way."""
        return {member.address: str(member.host.name) for member in self.all}

    def url(self, patience_s: float, avoided: Collection[str] = ()) -> str:
        """See Way."""
        deadline = time.monotonic() + patience_s
        while True:
            found = self.look(every=bool(avoided))
            there = [member for member in self.all if not found[member.host.name].startswith(SILENT)]
            if there:
                return min(there, key=lambda m: (found[m.host.name] != HEALTHY, m.url in avoided)).url
            if time.monotonic() >= deadline:
                states = ", ".join(f"{name} {said}" for name, said in sorted(found.items()))
                raise NotThereError(
                    f"cannot reach the S3 API: no server answers; found {states or 'no node in its group'}; "
                    "look at `unterbau storage status`"
                )
            gevent.sleep(LOOK_AGAIN_S)

    def session(self) -> requests.Session:
        """See Way."""
        return session(self.open, tls_context(self._roots()))

    def answers(self) -> bool:
        """See Way."""
        return any(not said.startswith(SILENT) for said in self.look().values())

    def electorate(self) -> tuple[list[str], int]:
        """See Way: more than half of all."""
        found = self.look(every=True)
        return [member.url for member in self.all if found[member.host.name] == HEALTHY], len(self.all) // 2 + 1

    @override
    def ask(self, member: Member, http: requests.Session) -> str:
        answer = http.get(member.url + self._health, timeout=OPEN_TIMEOUT_S, allow_redirects=False)
        return HEALTHY if answer.status_code == requests.codes.ok else f"status {answer.status_code}"


class Direct:
    """A service at a URL, verified against `roots` (PEM), or against what this machine trusts."""

    unguarded = False
    names: ClassVar[dict[str, str]] = {}

    def __init__(self, url: str, roots: str | None) -> None:
        self._url, self._roots = url.rstrip("/"), roots
        parts = urlsplit(self._url)
        if parts.scheme != "https" or not parts.hostname or parts.path or parts.query:
            raise EndpointError(f"cannot reach S3 at {url!r}: found no https://host or https://host:port")

    def url(self, patience_s: float, avoided: Collection[str] = ()) -> str:  # noqa: ARG002  # nobody to choose from
        """See Way."""
        return self._url

    def session(self) -> requests.Session:
        """See Way."""
        return session(connect_directly, tls_context([self._roots]) if self._roots else public_context())

    def answers(self) -> bool:
        """See Way."""
        try:
            with self.session() as http:
                http.get(self._url, timeout=OPEN_TIMEOUT_S, allow_redirects=False)
        except requests.RequestException:
            return False
        return True

    def electorate(self) -> tuple[list[str], int]:
        """See Way: how many servers there are is the service's own affair."""
        return [], 1

    def lock(self, holder: str) -> None:
        """There is nothing of ours to hold."""

    def close(self) -> None:
        """There is nothing to give back."""
