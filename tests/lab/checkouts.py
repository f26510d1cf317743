"""Checkouts of the tests' own: another lab under the name `lab`, or less of the platform on the same machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unterbau.lab.layout import Lab

ROOT = Path(__file__).parent.parent.parent
LAB_PREFIX, LAB_STATE = "10.77.0.", "/var/lib/unterbau/lab/"

# What a layer is declared by, per folder of data.
STORAGE = {"inventories": "del s3", "group_data": "del object_storage, buckets, s3_policies, s3_users"}
VAULT = {
    "inventories": "del vault",
    "group_data": "del vault_mounts, vault_policies, vault_kv, vault_approles, vault_databases, vault_database_roles\n"
    "del vault_static_roles",
}
POSTGRESQL = {"inventories": "", "group_data": "del postgresql_server"}
OTHER_GROUP = {  # whoever is in the group `postgresql` is a database server
    'target="postgresql"': 'target="databases"',
    "\npostgresql = ": "\ndatabases = ",
}


def checkout_for(lab: Lab, root: Path, source: Path = ROOT, *, storage: bool = True) -> Path:
    """A checkout in `root` whose environment `lab` is this lab: same data, its addresses and paths."""
    prefix = str(lab.subnet.network_address).rpartition(".")[0] + "."
    less = [] if storage else [STORAGE]
    return _written(root, source, {LAB_PREFIX: prefix, LAB_STATE: f"{lab.state}/"}, less)


def ground(root: Path, source: Path = ROOT) -> Path:
    """A checkout that declares names, time, ways in and roots of the usual lab, and none of its services.

    The same flows, so that the firewall is the same.
    """
    return _written(root, source, OTHER_GROUP, [STORAGE, VAULT, POSTGRESQL])


def _written(root: Path, source: Path, replaced: Mapping[str, str], without: Sequence[Mapping[str, str]]) -> Path:
    for folder in ("deploys", "facts", "operations", "locks"):
        (root / folder).symlink_to(source / folder)
    for folder in ("inventories", "group_data"):
        (root / folder).mkdir()
        for path in (source / folder).glob("*.py"):
            text = path.read_text()
            for old, new in replaced.items():
                text = text.replace(old, new)
            less = [layer[folder] for layer in without] if path.name == "lab.py" else []
            (root / folder / path.name).write_text("\n".join([text, *less, ""]))
    return root
