"""OpenBao's API as an application on a member's machine sees it: TLS by the lab's root, without our connectors."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from unterbau.lab import everyone, machine
from unterbau.lab.layout import Lab, Machine
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.store import Store

PORT = 8200
CLONE_NEWNET = 0x40000000
LIMIT_S = 20
DEPLOYER = "unterbau-deploy"


class BaoError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, errors: Any) -> None:
        super().__init__(f"{status}: {errors}")
        self.status = status


@dataclass(frozen=True)
class Bao:
    """The members of one lab's cluster."""

    lab: Lab

    def secret(self, name: str) -> str:
        """A value of the bootstrap store."""
        return Store(self.lab.store, self.lab.identity).version(name).value

    def call(
        self,
        node: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        wrap: str = "",
        login: bool = False,
    ) -> Any:
        """The answer of one member; BaoError if it is no success, OSError if there is none within LIMIT_S."""
        member = next(one for one in everyone.machines(self.lab) if one.name.endswith(node))
        with self._stream(member) as raw:
            connection = http.client.HTTPConnection(str(member.address), PORT)
            headers = {"X-Vault-Token": token, "X-Vault-Wrap-TTL": wrap}
            try:
                connection.sock = self._context(login=login).wrap_socket(raw, server_hostname=str(member.address))
                connection.request(
                    method,
                    f"/v1/{path}",
                    None if body is None else json.dumps(body),
                    {name: value for name, value in headers.items() if value},
                )
                answer = connection.getresponse()
                text = answer.read()
            except (http.client.HTTPException, ssl.SSLError) as error:
                raise OSError(f"no answer from {node}: {error!r}") from error
        said = json.loads(text) if text[:1] == b"{" else {"raw": text}
        if answer.status >= 300 and not path.startswith("sys/health"):
            raise BaoError(answer.status, said.get("errors"))
        return said

    def _context(self, *, login: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=pki.root_certificate(Hidden(self.secret("pki/root"))))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if login:
            client = pki.client_certificate(Hidden(self.secret("vault/deployers")), DEPLOYER, timedelta(hours=1))
            with tempfile.NamedTemporaryFile("w") as file:  # mode 0600; the standard library reads from files only
                file.write(client.unmask())
                file.flush()
                context.load_cert_chain(file.name)
        return context

    @contextmanager
    def _stream(self, one: Machine) -> Iterator[socket.socket]:
        """A stream to the member's API from the member's own machine: the firewall lets nobody else in."""
        with socket_inside(self.lab, one) as made:
            made.settimeout(LIMIT_S)
            made.connect((str(one.address), PORT))
            yield made

    def deploy_token(self, node: str) -> str:
        """A token of the deploys' own identity."""
        return str(self.call(node, "POST", "auth/deploy/login", {}, login=True)["auth"]["client_token"])

    def leader(self) -> str | None:
        """The member that says of itself that it leads; None if nobody does."""
        for node in ("srv-1", "srv-2", "srv-3"):
            try:
                if self.call(node, "GET", "sys/leader").get("is_self"):
                    return node
            except (OSError, BaoError):
                continue
        return None

    def active(self, limit_s: float = 180) -> str:
        """The member that leads, as soon as one does. Another one may answer with what was true a moment ago."""
        leader = None

        def led() -> bool:
            nonlocal leader
            leader = self.leader()
            return leader is not None

        eventually(led, limit_s)
        return str(leader)


def socket_inside(lab: Lab, one: Machine) -> socket.socket:
    """A socket of the machine's network, for as long as it is open; OSError if the machine is down.

    It belongs to the network that this thread is in while it is made: setns(2), which Python has from 3.12 on.
    """
    leader = machine.leader(lab, one)
    if leader is None:
        raise OSError(f"no answer from {one.name}: it is down")
    enter = ctypes.CDLL(None, use_errno=True).setns
    with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{leader}/ns/net").open() as theirs:
        if enter(theirs.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network of {one.name}")
        try:
            return socket.socket()
        finally:
            if enter(ours.fileno(), CLONE_NEWNET):
                os._exit(1)  # whatever came next would be done in that machine's network


def eventually(what: Callable[[], Any], limit_s: float, every_s: float = 0.3) -> float:
    """Wait until it is true; the seconds that it took. An OSError or BaoError meanwhile is not yet."""
    started = time.monotonic()
    error: Exception | None = None
    while time.monotonic() - started < limit_s:
        try:
            if what():
                return time.monotonic() - started
        except (OSError, BaoError) as caught:
            error = caught
        time.sleep(every_s)
    raise AssertionError(f"not so after {limit_s} s: {error!r}")
