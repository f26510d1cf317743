"""S3 servers on loopback for tests: TLS from our own CA, data in a folder, stopped by their process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import requests
from pyinfra.api import StringCommand
from pyinfra.api.state import StateStage

from unterbau.artifacts import artifact
from unterbau.artifacts.fetch import fetch
from unterbau.artifacts.store import ContentStore
from unterbau.connectors.s3 import S3Connector
from unterbau.declaration.storage import S3Endpoint
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden

SECRET = "root-secret-of-the-tests"
STARTS_WITHIN_S = 60


@dataclass
class Server:
    """One that runs."""

    engine: str
    url: str
    roots: Path
    process: subprocess.Popen[bytes]


def free_ports(count: int) -> list[int]:
    """So many different ones: the same could be had twice, were they taken one after the other."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def certificates(folder: Path) -> None:
    """`public.crt` and `private.key` for loopback, and `ca.pem` that signed them."""
    now = datetime.now(UTC)
    root = pki.new_root("S3 tests", 2, now)
    leaf = pki.issue(root, pki.Leaf("s3", ("localhost",), ("127.0.0.1",), timedelta(days=1)), now).unmask()
    start = leaf.index("-----BEGIN CERTIFICATE-----")
    folder.mkdir(parents=True)
    (folder / "private.key").write_text(leaf[:start])
    (folder / "public.crt").write_text(leaf[start:])
    (folder / "ca.pem").write_text(pki.root_certificate(root))


@contextmanager
def minio(folder: Path, drives: int = 4) -> Iterator[Server]:
    """One process with its drives in folders, EC:2."""
    binary = artifact("minio")
    fetch(binary, print)
    [port] = free_ports(1)
    program = folder / "minio"
    shutil.copyfile(ContentStore().path_of(binary), program)
    program.chmod(0o755)
    paths = [str(folder / f"drive-{number}") for number in range(1, drives + 1)]
    command = [str(program), "server", "--quiet", "--address", f"127.0.0.1:{port}", "--certs-dir", str(folder / "tls")]
    environment = {
        "MINIO_ROOT_USER": "unterbau",
        "MINIO_ROOT_PASSWORD": SECRET,
        "MINIO_STORAGE_CLASS_STANDARD": "EC:2",
        "MINIO_CI_CD": "1",  # all drives may lie on the root file system
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    with running("minio", folder, [*command, *paths], environment, port, "/minio/health/cluster") as server:
        yield server


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Server]:
    """Master, volume server, filer and S3 gateway in one process; only the gateway is what we speak with."""
    names = ("s3", "s3-grpc", "s3-http", "master", "master-grpc", "volume", "volume-grpc", "filer", "filer-grpc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    identity = {
        "name": "unterbau",
        "credentials": [{"accessKey": "unterbau", "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    command = [
        str(Path(sys.executable).with_name("weed")), "-logtostderr=true", "server", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-master.telemetry=false", "-master.volumeSizeLimitMB=64",
        f"-master.port={ports['master']}", f"-master.port.grpc={ports['master-grpc']}",
        f"-volume.port={ports['volume']}", f"-volume.port.grpc={ports['volume-grpc']}", "-volume.max=50", "-filer",
        f"-filer.port={ports['filer']}", f"-filer.port.grpc={ports['filer-grpc']}", "-s3",
        f"-s3.port.https={ports['s3']}", f"-s3.port={ports['s3-http']}", f"-s3.port.grpc={ports['s3-grpc']}",
        "-s3.iam.readOnly=false", f"-s3.config={folder / 's3.json'}",
        f"-s3.cert.file={folder / 'tls/public.crt'}", f"-s3.key.file={folder / 'tls/private.key'}",
    ]  # fmt: skip
    try:
        with running("seaweedfs", folder, command, {}, ports["s3"], "/healthz") as server:
            yield server
    finally:  # sockets that it makes there whatever it is told
        for port in ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()


@contextmanager
def running(  # noqa: PLR0917  # what a process needs
    engine: str, folder: Path, command: list[str], environment: Mapping[str, str], port: int, health: str
) -> Iterator[Server]:
    """The server from the moment it is healthy; its log is in the folder."""
    certificates(folder / "tls")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment}, cwd=folder,
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = Server(engine, f"https://127.0.0.1:{port}", folder / "tls/ca.pem", process)
    try:
        awaited(lambda: healthy(server, health), process, folder / "log")
        yield server
    finally:
        process.kill()  # what it holds is nobody's
        process.wait()


def healthy(server: Server, path: str) -> bool:
    try:
        return requests.get(server.url + path, verify=str(server.roots), timeout=5).ok
    except requests.RequestException:
        return False


def awaited(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(STARTS_WITHIN_S * 10):
        if condition():
            return
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        gevent.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace")[-2000:])


class Endpoint:
    """`@s3/…` on a server, as pyinfra has it, without an inventory."""

    def __init__(self, server: Server, secrets: tuple[str, ...] = (SECRET,), **declared: Any) -> None:
        one = object.__new__(S3Connector)
        data = {"name": "storage", "url": server.url, "engine": server.engine, "roots": str(server.roots), **declared}
        one.host = SimpleNamespace(  # type: ignore[assignment]
            name="storage", print_prefix="[storage] ", data=SimpleNamespace(s3=S3Endpoint(**data))
        )
        inventory = SimpleNamespace(get_group=lambda name: [])
        one.state = SimpleNamespace(  # type: ignore[assignment]
            current_stage=StateStage.Execute, inventory=inventory, ops={}, op_meta={}
        )
        one._secrets = lambda: [Hidden(secret) for secret in secrets]  # type: ignore[method-assign]
        self.connector = one

    def ran(self, command: str | StringCommand) -> tuple[bool, str]:
        """(whether it was done, what was said)."""
        text = command if isinstance(command, StringCommand) else StringCommand(command)
        done, output = self.connector.run_shell_command(text)
        return done, output.output
