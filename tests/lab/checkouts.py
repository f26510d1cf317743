"""Checkouts of the tests' own: another lab under the name `lab`, or less of the platform on the same machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unterbau.lab.layout import Lab

ROOT = Path(__file__).parent.parent.parent
LAB_PREFIX, LAB_STATE = "10.77.0.", "/var/lib/unterbau/lab/"

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
    return _written(root, source, {LAB_PREFIX: prefix, LAB_STATE: f"{lab.state}/"}, less)


def platform(root: Path, source: Path = ROOT) -> Path:
    """A checkout with the data of the usual lab but for K3s: its site leaves K3s alone, running or not."""
    _written(root, source, without=[K3S])
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
    root: Path, source: Path, replaced: Mapping[str, str] | None = None, without: Sequence[Mapping[str, str]] = ()
) -> Path:
    for folder in ("deploys", "facts", "operations", "locks"):
        (root / folder).symlink_to(source / folder)
    for folder in ("inventories", "group_data"):
        (root / folder).mkdir()
        for path in (source / folder).glob("*.py"):
            text = path.read_text()
            for old, new in (replaced or {}).items():
                text = text.replace(old, new)
            less = [layer[folder] for layer in without] if path.name == "lab.py" else []
            (root / folder / path.name).write_text("\n".join([text, *less, ""]))
    return root
