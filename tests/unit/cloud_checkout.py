"""A checkout that declares a cloud project and nothing else, the lab's cloud behind it, and `unterbau` in front of it.

What is declared are lines of Python: a test changes them and runs the program again, each time as a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.unit.lab_cloud import TOKEN, WatchedApi, public_key
from unterbau.lab.cloud.answer import Answer
from unterbau.lab.cloud.faults import Fault
from unterbau.lab.cloud.http_face import listening, respond_as_api, working
from unterbau.lab.cloud.listing import Query
from unterbau.secrets.identity import new_identity
from unterbau.secrets.store import New, Store

ROOT = Path(__file__).parent.parent.parent
SHARED = ("deploys", "operations", "facts", "tests", "unterbau")
PROGRAM = [sys.executable, "-m", "tests.unit.cloud_program"]
LIMIT_S = 300
KINDS = (
    "servers", "networks", "ssh_keys", "placement_groups", "firewalls", "load_balancers", "volumes", "primary_ips",
    "floating_ips",
)  # fmt: skip
INVENTORY = """
from unterbau.declaration import CloudProject, SecretRef, SecretStore, endpoints

store = endpoints(SecretStore(path="store.age", identity="identity.txt"))
cloud = endpoints(
    CloudProject(
        name="production", token=SecretRef("hcloud/token"), cluster="prod", known_hosts="known_hosts",
        endpoint="{url}/v1", limits={limits},
    )
)
"""
DATA = """
from unterbau.declaration import CloudFirewall, CloudNetwork, CloudSshKey, CloudSubnet, FirewallRule, NodePool
from unterbau.declaration import PoolVolume, Secret

secrets = (Secret(name="hcloud/token"),)
cloud_networks = (
    CloudNetwork(name="main", cidr="10.0.0.0/16", subnets=(CloudSubnet(cidr="10.0.0.0/22"),)),
    CloudNetwork(name="more", cidr="10.1.0.0/16", subnets=(CloudSubnet(cidr="10.1.0.0/22"),)),
)
cloud_ssh_keys = (CloudSshKey(name="ada", public_key="{key}"),)
cloud_firewalls = (
    CloudFirewall(
        name="base", rules=(FirewallRule(protocol="tcp", ports=22, sources=("192.0.2.0/28",)),),
        pools=({firewalled}),
    ),
)
_three = dict(types=("cx32", "cpx31"), locations=("fsn1", "nbg1", "hel1"), network="main")
"""
SERVERS = 'NodePool(name="servers", count=3, first_address="10.0.0.11", survives_location=True, **_three)'
WORKERS = 'NodePool(name="workers", count={count}, first_address="10.0.0.101", public_ipv6=False, {more}**_three)'


class Killing(WatchedApi):
    """A cloud whose client dies when its n-th request arrives, carried out or not."""

    victim: subprocess.Popen[str] | None = None
    left, carried_out = -1, True

    def handle(self, method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes) -> Answer:
        """As any cloud, but for that one."""
        self.left -= 1
        if self.left == 0 and self.victim is not None:
            if self.carried_out:
                super().handle(method, path, query, headers, body)
            self.victim.send_signal(signal.SIGKILL)
            self.victim.wait()
        return super().handle(method, path, query, headers, body) if self.left != 0 else Answer(503, {}, b"{}")


@dataclass
class Ran:
    """One run of the program: what it said, and what it asked the cloud for."""

    code: int
    out: str
    err: str
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def plan(self) -> dict[str, Any]:
        """Of `plan --json`."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def lists(self) -> Counter[str]:
        """How often each kind was listed, with each page."""
        return Counter(path for method, path in self.asked if method == "GET" and path.count("/") == 1)


class Checkout:
    """See the module."""

    def __init__(self, root: Path, api: Killing, url: str) -> None:
        self.root, self.api, self.url = root, api, url
        for name in SHARED:
            (root / name).symlink_to(ROOT / name)
        for name in ("inventories", "group_data"):
            (root / name).mkdir()
        new_identity(root / "identity.txt")
        store = Store.create(root / "store.age", root / "identity.txt")
        store.commit([New("hcloud/token", TOKEN, 0, datetime.now(UTC))])

    def declare(self, *pools: str, more: str = "", limits: Mapping[str, int] | None = None) -> None:
        """These pools, and more lines."""
        names = [pool.partition('name="')[2].partition('"')[0] for pool in pools]
        firewalled = ", ".join(f'"{name}"' for name in names)
        data = DATA.format(key=public_key(), firewalled=f"{firewalled}," if names else "")
        lines = [data, f"node_pools = ({''.join(f'{pool}, ' for pool in pools)})", textwrap.dedent(more)]
        (self.root / "group_data" / "demo.py").write_text("\n".join(lines))
        inventory = INVENTORY.format(url=self.url, limits=dict(limits or {}))
        (self.root / "inventories" / "demo.py").write_text(inventory)

    def run(self, *arguments: str, kill_at: int = -1, carried_out: bool = True) -> Ran:
        """`unterbau ARGUMENTS`, killed when its request number `kill_at` arrives."""
        before = len(self.api.requests)
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(
            [*PROGRAM, *arguments], cwd=self.root, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            self.api.victim, self.api.left, self.api.carried_out = process, kill_at, carried_out
            out, err = process.communicate(timeout=LIMIT_S)
        self.api.left = -1
        return Ran(process.returncode, out, err, self.api.requests[before:])

    def plan(self, code: int) -> Ran:
        """`unterbau plan`."""
        return self._checked(code, "plan", "demo")

    def apply(self, code: int = 0) -> Ran:
        """`unterbau apply`."""
        return self._checked(code, "apply", "demo", "-y")

    def _checked(self, code: int, *arguments: str) -> Ran:
        ran = self.run(*arguments)
        assert ran.code == code, f"{ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def all(self, kind: str) -> list[dict[str, Any]]:
        """What is there, asked past the program."""
        found, page = [], 1
        while page:
            answer = self.api.ask("GET", f"/{kind}", page=str(page), per_page="50")
            found += answer[kind]
            page = answer["meta"]["pagination"]["next_page"] or 0
        return found

    def names(self, kind: str) -> list[str]:
        """Of all that are there, sorted."""
        return sorted(one["name"] for one in self.all(kind))

    def fault(self, kind: str, **where: Any) -> None:
        """Something goes wrong from now on."""
        self.api.add_fault(Fault.model_validate({"kind": kind, **where}))

    def strangers(self) -> None:
        """A server that somebody made by hand."""
        body = {"name": "pet", "server_type": "cx22", "image": "debian-12", "location": "fsn1"}
        self.api.ask("POST", "/servers", json.dumps(body))
        self.api.settle()


@contextmanager
def checkout(root: Path) -> Iterator[Checkout]:
    """One on an empty cloud, which works while the context lasts."""
    api = Killing(TOKEN)
    with working(api), listening(respond_as_api(api)) as url:
        yield Checkout(root, api, url)


def workers(count: int, more: str = "") -> str:
    """A pool of so many, with more fields."""
    return WORKERS.format(count=count, more=more)
