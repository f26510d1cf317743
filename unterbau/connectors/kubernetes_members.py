"""The servers of a Kubernetes cluster: which one answers, and whom deploys log in as.

K3s keeps its administrator's certificate on every server. It is read through the node's SSH connection, whose host key
is pinned, and stays in memory. Source: K3s, pkg/daemons/control/deps.
"""

from __future__ import annotations

import re
import ssl
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

import gevent
import requests
from paramiko import SSHException, Transport
from pyinfra.api.state import State
from typing_extensions import override

from unterbau.connectors import members
from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S, SILENT, Member
from unterbau.connectors.tunnel import ANSWER_TIMEOUT_S, OPEN_TIMEOUT_S, session, tls_context
from unterbau.secrets.hidden import Hidden

TLS = "/var/lib/rancher/k3s/server/tls"
FILES = (f"{TLS}/server-ca.crt", f"{TLS}/client-admin.crt", f"{TLS}/client-admin.key")
BETWEEN = "# next file"
LARGEST_BYTES = 1 << 17
READY = "ready"
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Login:
    """What TLS needs: whom to trust (PEM), and the client's certificate and key."""

    roots: str
    client: Hidden


class Members(members.Members):
    """Servers that are ready, or say that they are not."""

    best = READY

    def __init__(self, state: State, group: str, port: int) -> None:
        super().__init__(state, group, port, self._no_roots)
        self._login: Login | None = None
        self._used: Counter[str] = Counter()  # how often the login of a node was tried
        self._why = ""  # nobody could be asked

    def url(self, patience_s: float) -> str:
        """Where a server answers; NotThereError with what each was found to be."""
        deadline = time.monotonic() + patience_s
        while True:
            found = self.look()
            there = [member for member in self.all if not found[member.host.name].startswith(SILENT)]
            if there:
                return min(there, key=lambda member: found[member.host.name] != READY).url
            if time.monotonic() >= deadline:
                if self._why:
                    raise NotThereError(self._why)
                states = ", ".join(f"{name} {said}" for name, said in sorted(found.items()))
                raise NotThereError(
                    f"cannot reach the Kubernetes API: no server answers; found {states or 'no node in its group'}; "
                    "look at `systemctl status k3s` there"
                )
            gevent.sleep(LOOK_AGAIN_S)

    def answers(self) -> bool:
        """Whether any server answers, whatever it says."""
        return any(not said.startswith(SILENT) for said in self.look().values())

    def session(self) -> requests.Session:
        """HTTP to any server, as the administrator; NotThereError if no node knows the certificate."""
        return session(self.open, self._context())

    def roots(self) -> str:
        """The authorities of the servers (PEM); NotThereError if no node knows them."""
        self._login = self._login or self._read()
        return self._login.roots

    def forget(self) -> None:
        """Read the certificate anew: it may have been renewed."""
        self._login = None

    @override
    def look(self, *, every: bool = False) -> dict[str, str]:
        try:
            found = super().look(every=every)
        except NotThereError as error:
            self._why = str(error)
            return {member.host.name: SILENT for member in self.all}
        self._why = ""
        if all(said.startswith(SILENT) for said in found.values()):
            self.forget()  # a cluster that was made anew has another authority
        return found

    @override
    def ask(self, member: Member, http: requests.Session) -> str:
        answer = http.get(f"{member.url}/readyz", timeout=OPEN_TIMEOUT_S, allow_redirects=False)
        if answer.status_code == requests.codes.unauthorized:
            self.forget()
        return READY if answer.ok else f"status {answer.status_code}"

    @override
    def _context(self) -> ssl.SSLContext:
        if self._login is None:
            self._login = self._read()
        return tls_context([self._login.roots], self._login.client.unmask())

    def _no_roots(self) -> Sequence[str]:
        """They come from the nodes, with the login."""
        return ()

    def _read(self) -> Login:
        """Of the nodes that have the files, one that was used least: another one's may have expired.

        EndpointError if two of them are not of one cluster.
        """
        asked = [gevent.spawn(self._read_from, name, transport) for name, transport in self._ways(None)]
        gevent.joinall(asked)
        found = [one.get() for one in asked]
        logins = {name: login for name, login in found if isinstance(login, Login)}
        if not logins:
            said = "; ".join(f"{name}: {error}" for name, error in found) or "no node of its group is connected"
            raise NotThereError(
                f"cannot log in to the Kubernetes API: no node has its certificates; found {said}; apply the layer "
                "k3s, or look at `systemctl status k3s` there"
            )
        if apart := founded_apart(logins):
            raise EndpointError(apart)
        name = min(logins, key=lambda name: self._used[name])
        self._used[name] += 1
        return logins[name]

    def _read_from(self, name: str, transport: Transport) -> tuple[str, Login | Exception]:
        try:
            return name, read_login(transport, sudo=self._with_sudo(name))
        except (OSError, SSHException, EOFError, ValueError) as error:
            return name, error

    def _with_sudo(self, name: str) -> bool:
        return any(member.host.name == name and bool(member.host.data.get("_sudo")) for member in self.all)


def founded_apart(logins: Mapping[str, Login]) -> str | None:
    """Why nodes are no cluster; None if they are. While authorities are rotated, old and new ones are in one file."""
    known: dict[str, set[str]] = {name: set(BLOCK.findall(login.roots)) for name, login in logins.items()}
    first = next(iter(known))
    for name, roots in known.items():
        if not roots & known[first] and name != first:
            return (
                f"cannot log in to the Kubernetes API: {first} and {name} have no authority in common "
                f"({TLS}/server-ca.crt): they are of two clusters; take the one that does not belong out of the group"
            )
    return None


def read_login(transport: Transport, *, sudo: bool) -> Login:
    """The three files of one node; OSError, ValueError with what is missing. The key is in no log, and no file here."""
    channel = transport.open_session(timeout=OPEN_TIMEOUT_S)
    cat = "sudo -n cat --" if sudo else "cat --"
    try:
        channel.settimeout(ANSWER_TIMEOUT_S)
        channel.exec_command(f" && echo '{BETWEEN}' && ".join(f"{cat} {quote(file)}" for file in FILES))
        with channel.makefile("rb") as output:
            text = output.read(LARGEST_BYTES).decode("ascii", "replace")
        if channel.recv_exit_status() != 0:
            raise ValueError(f"{TLS} is not there, or not readable")
    finally:
        channel.close()
    return login_of(text)


def login_of(text: str) -> Login:
    """Server authorities, client chain, key, one after the other; ValueError if one is missing."""
    parts = text.split(f"{BETWEEN}\n")
    if len(parts) != len(FILES) or not all("-----BEGIN" in part for part in parts):
        raise ValueError(f"{len(parts)} files, not all PEM, in {TLS}")
    roots, chain, key = parts
    return Login(roots, Hidden(key + chain))
