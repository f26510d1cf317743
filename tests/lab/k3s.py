"""A K3s cluster on machines of its own: a checkout with its layers only, and somebody who asks it all the time."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.commands import BASE_INSTALLED, ROOT, Running, on, unterbau, until
from tests.lab.conftest import LabCommand

INSTALLED = f"{BASE_INSTALLED} containerd containernetworking-plugins ipset iptables runc socat"
LIMIT_S = 600
PROBES_PER_S = 5
STOP = "/run/prober-stop"  # on the machine: what is only killed here would go on there
KUBECTL = "/usr/local/bin/k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml"
INVENTORY = """\
from unterbau.declaration import Node, SecretStore, endpoints, hosts

_ssh = {{"ssh_key": "{state}/ssh/id_ed25519", "known_hosts": "{state}/ssh/known_hosts"}}
servers = hosts({servers})
workers = hosts({workers})
store = endpoints(SecretStore(path="{state}/secrets/store.age", identity="{state}/secrets/identity.txt"))
"""
DATA = """\
from unterbau.declaration import Flow, K3s, Kernel, Network, Operator, TimeSync, public_key_file

network = Network(cidr="{subnet}", domain="{name}.internal", controllers=("{gateway}/32",))
time_sync = TimeSync(servers=(), island="servers", control_clock=False)
kernel_modules = Kernel()
operators = (
    Operator(name="operator", authorized_keys=(public_key_file("{state}/ssh/id_ed25519.pub", made_by="the lab"),)),
)
k3s = K3s({k3s})
"""
SITE = """\
from pyinfra import host

from deploys.base import base
from deploys.k3s import is_agent, is_server, k3s_agents, k3s_servers
from deploys.pki import trust
from deploys.secrets import secrets
from operations import layer

layer.reached(name="layer secrets")
if host.data.get("store"):
    secrets()
layer.reached(name="layer base")
if host.data.get("node"):
    base()
    trust()
layer.reached(name="layer k3s")
if is_server():
    k3s_servers()
layer.reached(name="layer k3s agents")
if is_agent():
    k3s_agents()
"""
# The same with what the cluster holds, and with pods of the lab's own images: images='("lab-images",)'.
WITH_OBJECTS_INVENTORY = (
    INVENTORY
    + """
from unterbau.declaration import KubernetesEndpoint

kubernetes = endpoints(KubernetesEndpoint(members="servers"))
"""
)
WITH_OBJECTS_SITE = (
    SITE.replace("from deploys.pki", "from deploys.kubernetes import kubernetes\nfrom deploys.pki")
    + """\
layer.reached(name="layer kubernetes")
if host.data.get("kubernetes"):
    kubernetes()
"""
)
# What a K3s needs that does not bring its own runtime, and what the lab's kernel does not let a machine set.
LAB: Mapping[str, str] = {
    "flannel_backend": '"host-gw"',
    "disable": '("coredns", "local-storage", "metrics-server", "servicelb", "traefik")',
    "packages": '("containerd", "runc", "containernetworking-plugins", "iptables", "ipset", "socat")',
}


@dataclass
class Cluster:
    """The lab's machines, and a checkout that declares them."""

    command: LabCommand
    root: Path
    declared: dict[str, str] = field(default_factory=lambda: dict(LAB))
    servers: list[str] = field(default_factory=lambda: ["srv-1", "srv-2", "srv-3"])
    workers: list[str] = field(default_factory=lambda: ["wrk-1", "wrk-2"])
    site: str = SITE
    inventory: str = INVENTORY
    data: str = DATA

    @property
    def environment(self) -> str:
        """What the checkout calls it."""
        return self.command.lab.name

    def name(self, short: str) -> str:
        """A machine's whole name."""
        return f"{self.environment}-{short}"

    def write(self, **changed: str) -> None:
        """(Over)write the checkout; `changed` are fields of K3s(…), as text."""
        self.declared |= changed
        lab = self.command.lab
        for folder in ("inventories", "group_data", "deploys"):
            (self.root / folder).mkdir(exist_ok=True)
        links = {name: ROOT / name for name in ("locks", "facts", "operations", "group_data/all.py")}
        links |= {f"deploys/{path.name}": path for path in (ROOT / "deploys").glob("*.py") if path.stem != "site"}
        for name, target in links.items():
            if not (self.root / name).exists():
                (self.root / name).symlink_to(target)
        values = {
            "state": lab.state, "subnet": lab.subnet, "gateway": lab.gateway, "name": lab.name,
            "servers": self._nodes(self.servers), "workers": self._nodes(self.workers),
            "k3s": ", ".join(f"{name}={value}" for name, value in self.declared.items()),
        }  # fmt: skip
        inventory = self.inventory if self.workers else self.inventory.replace("workers = hosts({workers})\n", "")
        (self.root / "inventories" / f"{lab.name}.py").write_text(inventory.format(**values))
        (self.root / "group_data" / f"{lab.name}.py").write_text(self.data.format(**values))
        (self.root / "deploys" / "site.py").write_text(self.site)

    def _nodes(self, names: list[str]) -> str:
        machines = [self.command.lab.machine(self.name(name)) for name in names]
        return ", ".join(f'Node(name="{one.name}", address="{one.address}", **_ssh)' for one in machines)

    def on(self, node: str, script: str) -> str:
        """What a shell says on a machine; an error fails the test."""
        return on(self.name(node), script, self.command.lab)

    def from_nothing(self) -> Cluster:
        """New machines, and one apply; what the next module may go on with."""
        self.command.must("down")
        self.command.environment["UNTERBAU_LAB_PACKAGES"] = INSTALLED
        self.command.must("up")
        self.write()
        self.apply()
        self.command.k3s_was_here.touch()
        return self

    def from_the_last_one(self) -> Cluster:
        """The machines as the module before has left them, brought to this; new ones where a plan refuses that."""
        self.write()
        if not self.command.k3s_was_here.exists() or self.command("up").returncode or self.plan()[0] not in (0, 2):
            return self.from_nothing()
        self.apply()
        return self

    def apply(self, *arguments: str) -> str:
        """Converge; an error fails the test with the report."""
        ran = unterbau("apply", self.environment, "-y", *arguments, cwd=self.root)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def applying(self, *arguments: str) -> Running:
        """An apply under way."""
        return Running("apply", self.environment, "-y", *arguments, cwd=self.root)

    def plan(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """(exit code, plan)."""
        ran = unterbau("plan", self.environment, "--json", *arguments, cwd=self.root)
        assert ran.stdout, ran.stderr
        return ran.returncode, json.loads(ran.stdout)

    def nodes(self, asked: str = "srv-1") -> dict[str, dict[str, Any]]:
        """The Node objects, as a server tells."""
        said = json.loads(self.on(asked, f"{KUBECTL} get nodes -o json"))
        return {one["metadata"]["name"]: one for one in said["items"]}

    def ready(self, asked: str = "srv-1") -> list[str]:
        """Names of Nodes that are Ready."""
        return sorted(name for name, one in self.nodes(asked).items() if is_ready(one))

    def versions(self, asked: str = "srv-1") -> dict[str, str]:
        """{node: version of its kubelet}, by the short names; {} while this server's API does not answer."""
        ask = f"{KUBECTL} get nodes -o json --request-timeout=5s"
        said = json.loads(self.on(asked, f"{ask} 2>/dev/null || echo '{{\"items\": []}}'"))["items"]
        versions = {one["metadata"]["name"]: one["status"]["nodeInfo"]["kubeletVersion"] for one in said}
        return {name.removeprefix(f"{self.environment}-"): version for name, version in versions.items()}

    def objects(self, kind: str, namespace: str = "", asked: str = "srv-1") -> list[dict[str, Any]]:
        """The objects of a kind, in one namespace or in all, as a server tells."""
        where = f"-n {namespace}" if namespace else "-A"
        found: list[dict[str, Any]] = json.loads(self.on(asked, f"{KUBECTL} get {kind} {where} -o json"))["items"]
        return found

    def etcd(self, asked: str, path: str, **body: str) -> dict[str, Any]:
        """What a server's own etcd says: `path` below /v3/, keys and values in base64."""
        tls = "/var/lib/rancher/k3s/server/tls/etcd"
        ask = f"curl -sS --fail --cacert {tls}/server-ca.crt --cert {tls}/client.crt --key {tls}/client.key"
        said = self.on(asked, f"{ask} -d {shlex.quote(json.dumps(body))} https://127.0.0.1:2382/v3/{path}")
        found: dict[str, Any] = json.loads(said)
        return found

    def members(self, asked: str = "srv-1") -> dict[str, bool]:
        """{member of etcd: whether it votes}, as a server's etcd tells."""
        said = self.etcd(asked, "cluster/member/list")
        return {one.get("name", one["ID"]): not one.get("isLearner", False) for one in said["members"]}

    def started(self) -> dict[str, str]:
        """{node: when its process started}, to the microsecond."""
        show = "systemctl show --timestamp=us+utc --value -p ExecMainStartTimestamp"
        units = {**dict.fromkeys(self.servers, "k3s"), **dict.fromkeys(self.workers, "k3s-agent")}
        return {name: self.on(name, f"{show} {unit}").strip() for name, unit in units.items()}

    def until(self, condition: Callable[[], bool], what: str = "it") -> None:
        """Wait until this holds; fail after LIMIT_S."""
        until(condition, LIMIT_S, 0.5, lambda: what)


def is_ready(node: dict[str, Any]) -> bool:
    """Whether a Node says that it is Ready."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])


class Prober:
    """Asks for all Nodes five times a second, as a client on a worker does: through that node's load balancer.

    It counts; how many failures are too many, a test decides.
    """

    def __init__(self, cluster: Cluster, node: str = "wrk-1") -> None:
        agent = "/var/lib/rancher/k3s/agent"
        ask = (
            f"curl -s -o /dev/null -m 2 -w '%{{http_code}} ' --cacert {agent}/server-ca.crt "
            f"--cert {agent}/client-kubelet.crt --key {agent}/client-kubelet.key "
            f"https://127.0.0.1:6444/api/v1/nodes/{cluster.name(node)}"
        )
        # Each in the background: one that hangs must not keep the next one from being sent.
        loop = (
            f"rm -f {STOP}; until test -e {STOP}; do {{ {ask}; date +%s.%N; }} & sleep {1 / PROBES_PER_S}; done; wait"
        )
        self._cluster, self._node = cluster, node
        command = ["shell", cluster.name(node), "--", "sh", "-c", loop]
        self._process = cluster.command.start(*command)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines += iter(self._process.stdout)

    def stop(self) -> tuple[int, int]:
        """(requests, failed ones) since it began."""
        self._cluster.on(self._node, f"touch {STOP}")
        self._reader.join()
        self._process.wait()
        codes = [line.split()[0] for line in self._lines if line.strip()]
        return len(codes), sum(code != "200" for code in codes)
