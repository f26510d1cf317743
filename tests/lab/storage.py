"""Object storage on a lab's machines: made by its layers alone, broken on purpose, read as applications read it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab import commands
from tests.lab.commands import BASE_INSTALLED, ROOT, entered, on, unterbau
from tests.lab.conftest import LabCommand
from unterbau.lab import machine
from unterbau.lab.layout import Lab
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.store import Store

LIMIT_S = 300  # of one wait: a heal of all objects alone may take two minutes on a busy host
DRIVE = "/mnt/drive-1"
FOLDER = f"{DRIVE}/minio"
INVENTORY = """\
from unterbau.declaration import Node, S3Endpoint, SecretStore, endpoints, hosts

_ssh = {{"ssh_key": "{state}/ssh/id_ed25519", "known_hosts": "{state}/ssh/known_hosts"}}
servers = hosts({servers})
workers = hosts({workers})
storage = servers + workers
store = endpoints(SecretStore(path="{state}/secrets/store.age", identity="{state}/secrets/identity.txt"))
s3 = endpoints(S3Endpoint(members="storage"))
"""
DATA = """\
from unterbau.declaration import (
    Kernel, Network, ObjectStorage, Operator, StoragePool, TimeSync, public_key_file,
)

network = Network(cidr="{subnet}", domain="{name}.internal", controllers=("{gateway}/32",))
time_sync = TimeSync(servers=(), island="servers", control_clock=False)
kernel_modules = Kernel()
operators = (
    Operator(name="operator", authorized_keys=(public_key_file("{state}/ssh/id_ed25519.pub", made_by="the lab"),)),
)
object_storage = ObjectStorage(pools=(StoragePool(nodes="storage", drives=("/mnt/drive-1",)),))
"""
SITE = """\
from pyinfra import host

from deploys.base import addresses, kernel
from deploys.object_storage import object_storage
from deploys.object_storage_gateway import gateway
from deploys.pki import trust
from deploys.secrets import secrets
from operations import hostname

if host.data.get("store"):
    secrets()
if host.data.get("node"):
    hostname.known(
        node=host.data.node.name,
        addresses=addresses("all"),
        domain=host.data.network.domain,
        services={"s3": str(host.data.node.address)},
        name="names of all nodes",
    )
    kernel()
    trust()
    object_storage()
    gateway()
"""


class Client:
    """An application's client on one node, in its network; see `tests.lab.s3_client`."""

    def __init__(self, lab: Lab, node: str, root: Path, secret: str) -> None:
        self.node = node
        one = lab.machine(node)
        enter = ["nsenter", "--target", str(machine.leader(lab, one)), "--net", "--"]
        command = [*enter, sys.executable, "-m", "tests.lab.s3_client", str(one.address), str(root)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._line(secret)

    def wait(self) -> Client:
        """Once its modules are loaded."""
        assert self.answer() == {"ready": True}
        return self

    def _line(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def order(self, do: str, **arguments: Any) -> Client:
        """Begin; `answer` is what came of it."""
        self._line(json.dumps({"do": do, **arguments}))
        return self

    def end_load(self) -> dict[str, Any]:
        """End `load`; what came of it."""
        self._line("")
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line; an order that failed altogether is {"error": why}."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the client on {self.node} ended with {self._process.wait()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:
        return self.order(do, **arguments).answer()

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.communicate()


class Storage:
    """The lab's five machines with object storage, and a checkout with nothing but its layers."""

    def __init__(self, command: LabCommand, folder: Path) -> None:
        self.command, self.folder = command, folder
        self.lab = command.lab
        self.nodes = [one.name for one in self.lab.machines]
        self.bucket = f"tests-{folder.name}"  # what another module left there is not ours to judge
        self.clients: dict[str, Client] = {}

    # -- the program

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`unterbau ARGUMENTS` in the checkout."""
        return unterbau(*arguments, cwd=self.folder)

    def apply(self, *arguments: str) -> str:
        """Converge; what it said."""
        ran = self.run("apply", self.lab.name, "-y", *arguments)
        assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
        return ran.stdout

    def plan(self) -> tuple[int, str]:
        """(exit code, text)."""
        ran = self.run("plan", self.lab.name)
        return ran.returncode, ran.stdout

    # -- machines

    def on(self, node: str, script: str) -> str:
        """A shell command on a machine by hand."""
        return on(node, script, self.lab)

    def kill(self, *nodes: str) -> None:
        """Their power goes: nothing is said to anybody."""
        for node in nodes:
            self.command.must("fault", "kill", node)
        for node in nodes:
            self.leave(node)

    def start(self) -> None:
        """Power for all of them again; until each serves reads and writes."""
        self.command.must("fault", "undo")
        self.until_serving(*self.nodes)

    def until_serving(self, *nodes: str) -> None:
        """Until these members say of themselves that they can read and write."""
        until(lambda: all(self.serves(node) for node in nodes))

    def serves(self, node: str) -> bool:
        """What the node's member says at its own address."""
        url = f"https://{self.lab.machine(node).address}:9000/minio/health/cluster"
        curl = f"curl -s -m 3 -o /dev/null --cacert /etc/unterbau/pki/ca.pem -w '%{{http_code}}' {url} || true"
        return entered(self.lab, node, curl).stdout == "200"

    # -- clients

    def client(self, node: str) -> Client:
        """The client on a node; made on first use."""
        return self.some(node)[0]

    def another_client(self, node: str) -> Client:
        """One more on a node; whoever takes it closes it."""
        return Client(self.lab, node, self.root_certificate(), self.secret("storage/root")).wait()

    def some(self, *nodes: str) -> list[Client]:
        """Clients on these nodes; those that are missing load their modules at the same time."""
        new = [node for node in nodes if node not in self.clients]
        for node in new:
            self.clients[node] = Client(self.lab, node, self.root_certificate(), self.secret("storage/root"))
        for node in new:
            self.clients[node].wait()
        return [self.clients[node] for node in nodes]

    def leave(self, node: str) -> None:
        """End the client on a node."""
        if node in self.clients:
            self.clients.pop(node).close()

    def secret(self, name: str) -> str:
        """A value of the bootstrap store."""
        return Store(self.lab.store, self.lab.identity).version(name).value

    def root_certificate(self) -> Path:
        """What clients verify with."""
        path = self.folder / "root.pem"
        if not path.exists():
            path.write_text(pki.root_certificate(Hidden(self.secret("pki/root"))))
        return path

    def together(self, nodes: Sequence[str], do: str, **arguments: Any) -> dict[str, dict[str, Any]]:
        """The same order to the clients of several nodes at once: {node: answer}."""
        clients = self.some(*nodes)
        for client in clients:
            client.order(do, **arguments)
        return {client.node: client.answer() for client in clients}

    def read(self, nodes: Sequence[str], hashes: Mapping[str, str]) -> float:
        """Every object through each of these nodes, equal; seconds that the slowest took."""
        slowest = 0.0
        for node, said in self.together(nodes, "read", bucket=self.bucket, hashes=dict(hashes)).items():
            assert (said["wrong"], said["failed"]) == ([], {}), f"{node}: {said['wrong']} {said['failed']}"
            assert len(said["equal"]) == len(hashes)
            slowest = max(slowest, said["slowest_s"])
        return slowest

    # -- drives, from outside

    def drive(self, node: str) -> Path:
        """MinIO's folder on the node's drive, as this machine reaches it."""
        return Path(f"/proc/{machine.leader(self.lab, self.lab.machine(node))}/root{FOLDER}")

    def files(self, node: str, prefix: str = "") -> dict[str, int]:
        """{path below the bucket: bytes} of objects on the node's drive.

        Without the notes on parts of an upload (`part.1.meta`), which a server that is killed while it completes the
        upload leaves beside the object.
        """
        top = self.drive(node) / self.bucket
        paths = [Path(folder, name) for folder, _below, names in os.walk(top / prefix) for name in names]
        found: dict[str, int] = {}
        for path in paths:
            with suppress(FileNotFoundError):  # its server works meanwhile
                found |= {} if path.match("part.*.meta") else {str(path.relative_to(top)): path.stat().st_size}
        return found

    def uneven(self, prefix: str = "") -> dict[str, list[str]]:
        """{file: drives that lack it, or have another size of it}: {} if every object has all of its shards."""
        drives = {node: self.files(node, prefix) for node in self.nodes}
        every = set().union(*drives.values())
        usual = {path: max(one.get(path, 0) for one in drives.values()) for path in every}
        lacking = {path: [node for node in self.nodes if drives[node].get(path) != usual[path]] for path in every}
        return {path: nodes for path, nodes in lacking.items() if nodes}

    def shard(self, node: str, name: str) -> Path:
        """The file that holds the node's shard of a large object's first part."""
        [found] = (self.drive(node) / self.bucket / name).glob("*/part.1")
        return found

    def heal(self, *arguments: str) -> dict[str, Any]:
        """`unterbau storage heal`: its report."""
        ran = self.run("storage", "heal", self.lab.name, "--json", *arguments)
        assert ran.stdout, ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        assert (ran.returncode == 0) == found["whole"]
        return {**found, "unhealed_first": found["unhealed_first"][:3]}

    def heal_until_whole(self) -> int:
        """Heal, again if a drive could not be reached yet, until all is whole; how much was healed."""
        healed = 0

        def whole() -> bool:
            nonlocal healed
            said = self.heal()
            healed += said["healed"]
            return bool(said["whole"])

        until(whole)
        return healed

    def until_all_see_all(self, name: str) -> None:
        """Until each member reaches the drives of all others for an object's bytes.

        Who could not be reached is tried again after up to 30 s only, and no health check tells of it. Source: MinIO,
        internal/rest/client.go. Looking for damage in an object asks each drive in just that way.
        """

        def all_do() -> bool:
            said = self.together(self.nodes, "heal", bucket=self.bucket, prefix=name, deep=True, dry=True)
            return all(one.get("found", {}).get(f"{len(self.nodes)} ok") for one in said.values())

        until(all_do)

    def close(self) -> None:
        """End every client."""
        for node in list(self.clients):
            self.leave(node)


def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> float:
    """Wait until it is true; the seconds that it took."""
    return commands.until(condition, limit_s, 0.3)


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """What was measured, for whoever reads the log of a run that passed."""
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")


def digest(path: Path) -> str:
    """A file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        [byte] = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def storage(command: LabCommand, folder: Path) -> Iterator[Storage]:
    """The lab's machines with object storage, converged. What an earlier module of tests made is taken as it is."""
    ours = command.lab.state / "storage-tests"
    if not ours.exists():
        command.must("down")
        command.environment["UNTERBAU_LAB_PACKAGES"] = f"{BASE_INSTALLED} haproxy"
    command.must("up")
    command.must("fault", "undo")
    ours.touch()
    write_checkout(command.lab, folder)
    made = Storage(command, folder)
    with ExitStack() as stack:
        stack.callback(made.close)
        made.apply()
        until(lambda: made.client(made.nodes[0])("bucket", name=made.bucket) == {})
        yield made


def write_checkout(lab: Lab, folder: Path) -> None:
    """A checkout whose only environment is these machines, and whose site is object storage alone."""
    for name in ("inventories", "group_data", "deploys"):
        (folder / name).mkdir()
    for name in ("facts", "operations", "locks"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "group_data" / "all.py").symlink_to(ROOT / "group_data" / "all.py")
    for path in (ROOT / "deploys").glob("*.py"):
        if path.name != "site.py":
            (folder / "deploys" / path.name).symlink_to(path)
    nodes = [f'Node(name="{one.name}", address="{one.address}", **_ssh)' for one in lab.machines]
    groups = {"servers": ", ".join(nodes[:3]), "workers": ", ".join(nodes[3:])}
    values = {"state": lab.state, "subnet": lab.subnet, "gateway": lab.gateway, "name": lab.name, **groups}
    (folder / "deploys" / "site.py").write_text(SITE)
    (folder / "inventories" / f"{lab.name}.py").write_text(INVENTORY.format(**values))
    (folder / "group_data" / f"{lab.name}.py").write_text(DATA.format(**values))
