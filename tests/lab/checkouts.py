"""Checkouts of the tests' own: another lab under the name `lab`, or less of the platform on the same machines.

Their nodes are declared one by one: what is about the cloud has an inventory of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unterbau.lab import everyone
from unterbau.lab.layout import Lab

ROOT = Path(__file__).parent.parent.parent
LAB_PREFIX, LAB_STATE = "10.77.0.", "/var/lib/unterbau/lab/"
LAB_CLOUD = "http://127.77.0.1:8080/v1"
# The same machines, whoever made them: a test that is not about the cloud does not ask it with every plan.
NODES = """\
from unterbau.declaration import Node, hosts
_ssh = {"ssh_key": "/var/lib/unterbau/lab/ssh/id_ed25519", "known_hosts": "/var/lib/unterbau/lab/PINS"}
servers = hosts(*(Node(name=f"srv-{n}", address=f"10.77.0.1{n}", **_ssh) for n in (1, 2, 3)))
workers = hosts(*(Node(name=f"wrk-{n}", address=f"10.77.0.2{n}", **_ssh) for n in (1, 2)))
postgresql = workers[:1]
storage = servers + workers
del hcloud, nodes, Node, hosts
"""
PINS, PINS_OF_THE_CLOUD = "ssh/known_hosts", "cloud/known_hosts"
OF_THE_CLOUD = ("hcloud.py",)

# What K3s and object storage are declared by, per folder of data.
K3S = {
    "inventories": "del kubernetes",
    "group_data": "del k3s, kubernetes_namespaces, kubernetes_config_maps, kubernetes_secrets, kubernetes_deployments\n"
    "del kubernetes_services, kubernetes_network_policies, kubernetes_cron_jobs",
}
STORAGE = {"inventories": "del s3", "group_data": "del object_storage, buckets, s3_policies, s3_users"}
GROUND = """\
from pyinfra import host

from deploys.base import base
from deploys.pki import trust
from deploys.secrets import secrets
from operations import layer

layer.reached(name="layer secrets")
if host.data.get("store"):
    secrets()
layer.reached(name="layer base")
if host.data.get("node"):
    base()
layer.reached(name="layer pki")
if host.data.get("node"):
    trust()
"""


def checkout_for(lab: Lab, root: Path, source: Path = ROOT, *, k3s: bool = True, storage: bool = True) -> Path:
    """A checkout in `root` whose environment `lab` is this lab: same data, its addresses and paths."""
    prefix = str(lab.subnet.network_address).rpartition(".")[0] + "."
    less = [layer for layer, stays in ((K3S, k3s), (STORAGE, storage)) if not stays]
    pins = PINS_OF_THE_CLOUD if everyone.are_of_the_cloud(lab) else PINS
    return _written(root, source, {"PINS": pins, LAB_PREFIX: prefix, LAB_STATE: f"{lab.state}/"}, less)


def with_cloud(lab: Lab, root: Path, source: Path = ROOT, *, k3s: bool = True, storage: bool = True) -> Path:
    """The same with the machines of this lab's cloud: its environment `lab` declares the project and its pools too."""
    prefix = str(lab.subnet.network_address).rpartition(".")[0] + "."
    less = [layer for layer, stays in ((K3S, k3s), (STORAGE, storage)) if not stays]
    own = {LAB_PREFIX: prefix, LAB_STATE: f"{lab.state}/", LAB_CLOUD: lab.cloud_endpoint}
    return _written(root, source, own, less, cloud=True)


def platform(root: Path, source: Path = ROOT) -> Path:
    """A checkout with the data of the usual lab but for K3s: its site leaves K3s alone, running or not."""
    _written(root, source, {"PINS": PINS_OF_THE_CLOUD}, without=[K3S])
    return root


def ground(root: Path, source: Path = ROOT) -> Path:
    """A checkout with the data of `platform` whose site is names, time, ways in and roots, and no service."""
    platform(root, source)
    (root / "deploys").unlink()
    (root / "deploys").mkdir()
    for path in (source / "deploys").glob("*.py"):
        (root / "deploys" / path.name).symlink_to(path)
    (root / "deploys" / "site.py").unlink()
    (root / "deploys" / "site.py").write_text(GROUND)
    return root


def _written(
    root: Path,
    source: Path,
    replaced: Mapping[str, str],
    without: Sequence[Mapping[str, str]] = (),
    *,
    cloud: bool = False,
) -> Path:
    for folder in ("deploys", "facts", "operations", "locks"):
        (root / folder).symlink_to(source / folder)
    for folder in ("inventories", "group_data"):
        (root / folder).mkdir()
        for path in (source / folder).glob("*.py"):
            if path.name in OF_THE_CLOUD and not cloud:
                continue
            less = [layer[folder] for layer in without] if path.name == "lab.py" else []
            nodes = [NODES] if path.name == "lab.py" and folder == "inventories" and not cloud else []
            text = "\n".join([path.read_text(), *nodes, *less, ""])
            for old, new in replaced.items():
                text = text.replace(old, new)
            (root / folder / path.name).write_text(text)
    return root
