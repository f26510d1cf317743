"""A real etcd cluster on loopback: gRPC, JSON gateway and metrics on ports of their own, as K3s has them.

Keys and certificates are made for the run. The binary is `k3s etcd` or `etcd`, see `command`.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.unit import k3s_program
from unterbau.secrets import pki

WAIT_S = 30


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """One member: its folder and ports."""

    name: str
    folder: Path
    client: int = field(default_factory=free_port)
    peer: int = field(default_factory=free_port)
    gateway_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def gateway(self) -> str:
        """Its JSON gateway."""
        return f"https://127.0.0.1:{self.gateway_port}"

    @property
    def metrics(self) -> str:
        """Where it has its metrics and readyz."""
        return f"http://127.0.0.1:{self.metrics_port}"


class Etcd:
    """Members that know each other; `tls` is the folder of the client certificates, as in K3s."""

    def __init__(self, folder: Path, names: tuple[str, ...], *, quota_bytes: int = 0) -> None:
        self.tls, self._quota = folder / "tls", quota_bytes
        self.servers = {name: Server(name, folder / name) for name in names}
        self._certificates()

    def _certificates(self) -> None:
        now = datetime.now(UTC)
        root = pki.new_root("etcd", 1, now)
        leaf = pki.issue(root, pki.Leaf("etcd", addresses=("127.0.0.1",), life=timedelta(hours=8)), now)
        self.tls.mkdir(parents=True)
        key, begin, certificate = leaf.unmask().partition("-----BEGIN CERTIFICATE-----")
        (self.tls / "server-ca.crt").write_text(pki.root_certificate(root))
        (self.tls / "client.crt").write_text(begin + certificate)
        (self.tls / "client.key").touch(0o600)
        (self.tls / "client.key").write_text(key)

    def start(self, *names: str) -> None:
        """Start these members, all without names, and wait until each answers."""
        chosen = [self.servers[name] for name in names or self.servers]
        for server in chosen:
            with (server.folder.parent / f"{server.name}.log").open("ab") as log:
                server.process = subprocess.Popen(self._arguments(server), stdout=log, stderr=log)
        for server in chosen:
            self.until_ready(server)

    def _arguments(self, server: Server) -> list[str]:
        peers = ",".join(f"{one.name}=https://127.0.0.1:{one.peer}" for one in self.servers.values())
        options = {
            "name": server.name,
            "data-dir": str(server.folder),
            "listen-client-urls": f"https://127.0.0.1:{server.client}",
            "advertise-client-urls": f"https://127.0.0.1:{server.client}",
            "listen-client-http-urls": server.gateway,
            "listen-metrics-urls": server.metrics,
            "listen-peer-urls": f"https://127.0.0.1:{server.peer}",
            "initial-advertise-peer-urls": f"https://127.0.0.1:{server.peer}",
            "initial-cluster": peers,
            **{f"{kind}trusted-ca-file": f"{self.tls}/server-ca.crt" for kind in ("", "peer-")},
            **{f"{kind}cert-file": f"{self.tls}/client.crt" for kind in ("", "peer-")},
            **{f"{kind}key-file": f"{self.tls}/client.key" for kind in ("", "peer-")},
            **{f"{kind}client-cert-auth": "true" for kind in ("", "peer-")},
        }
        if self._quota:
            options["quota-backend-bytes"] = str(self._quota)
        return [str(k3s_program.k3s()), "etcd", *(f"--{name}={value}" for name, value in options.items())]

    def until_ready(self, server: Server) -> None:
        """Wait until it reads linearizably; AssertionError after WAIT_S."""
        until(lambda: _answers(f"{server.metrics}/readyz"), f"{server.name} is ready")

    def stop(self, *names: str) -> None:
        """Stop these members, all without names."""
        for server in (self.servers[name] for name in names or self.servers):
            if server.process is not None:
                server.process.kill()
                server.process.wait()
                server.process = None

    def call(self, name: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One call of a member's gateway, without our code."""
        context = ssl.create_default_context(cafile=str(self.tls / "server-ca.crt"))
        context.load_cert_chain(self.tls / "client.crt", self.tls / "client.key")
        url = f"{self.servers[name].gateway}/v3/{path}"
        request = urllib.request.Request(url, json.dumps(body or {}).encode(), method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=15, context=context) as answer:  # noqa: S310
            return dict(json.load(answer))

    def put(self, name: str, key: str, value: bytes) -> None:
        """Write a key; HTTPError if it is not acknowledged."""
        self.call(name, "kv/put", {"key": _base64(key.encode()), "value": _base64(value)})

    def get(self, name: str, key: str) -> bytes | None:
        """Read a key linearizably."""
        found = self.call(name, "kv/range", {"key": _base64(key.encode())}).get("kvs")
        return base64.b64decode(found[0]["value"]) if found else None


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for it; AssertionError after WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310  # http, of ours
            return True
    except OSError:
        return False


def _base64(text: bytes) -> str:
    return base64.b64encode(text).decode()
