"""Clusters and objects that are fine, and how Kubernetes writes what they are made of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from unterbau.declaration import (
    Container,
    DeclarationError,
    K3s,
    KubernetesConfigMap,
    KubernetesManifest,
    NodeLabel,
    Probe,
    endpoints,
    load,
)
from unterbau.declaration.endpoint import KubernetesEndpoint

BAD = Path(__file__).parent.parent / "bad"
DATA, INVENTORY = "group_data/cluster.py", "inventories/demo.py"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = Path(shutil.copytree(BAD / "base", tmp_path / "base"))
    return Path(shutil.copytree(BAD / "base_k3s", root, dirs_exist_ok=True))


def replaced(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))


def test_a_cluster_is_a_host_of_its_own() -> None:
    [(name, data)] = endpoints(KubernetesEndpoint(name="demo"))
    assert name == "@kubernetes/demo"
    assert data["kubernetes"].members == "servers"


def test_a_cluster_may_have_servers_only(base: Path) -> None:
    """Without the servers' taint, as pods have nowhere else to be."""
    replaced(base, DATA, '    name="demo",\n', '    name="demo",\n    agents="",\n    server_taint=False,\n')
    replaced(base, DATA, 'nodes="workers"', 'nodes="servers"')
    assert load("demo", base).data["srv-1"]["k3s"].agents == ""


def test_servers_of_an_etcd_elsewhere_may_be_even(base: Path) -> None:
    replaced(base, INVENTORY, "cluster = servers", "pair = servers[:2]\ncluster = servers")
    replaced(base, INVENTORY, "KubernetesEndpoint()", 'KubernetesEndpoint(members="pair")')
    store = 'K3sDatastore(endpoints=("https://etcd:2379",), ca="app/key", certificate="app/key", key="app/key")'
    replaced(base, DATA, '    name="demo",\n', f'    name="demo",\n    servers="pair",\n    datastore={store},\n')
    replaced(base, DATA, "    K3s,\n", "    K3s,\n    K3sDatastore,\n")
    replaced(base, DATA, '    snapshot_bucket="snapshots",\n    snapshot_user="writer",\n', "")
    assert load("demo", base).data["srv-1"]["k3s"].datastore is not None


def test_a_template_is_found_from_the_checkout(base: Path) -> None:
    (base / "manifests").mkdir()
    (base / "manifests" / "class.yaml").write_text("kind: PriorityClass\n")
    told = 'kubernetes_manifests = (\n    KubernetesManifest(name="file", template="manifests/class.yaml"),'
    replaced(base, DATA, "kubernetes_manifests = (", told)
    assert load("demo", base)


def test_without_a_cluster_pods_are_nobody(tmp_path: Path) -> None:
    root = Path(shutil.copytree(BAD / "base", tmp_path / "base"))
    told = 'flows = (\n    Flow(name="api", source="pods", target="servers", protocol="tcp", ports=(6443,)),'
    replaced(root, "group_data/demo.py", "flows = (", told)
    assert load("demo", root)


def test_its_networks_are_networks_also_by_themselves() -> None:
    assert K3s().cluster_dns in K3s().service_cidr
    assert not K3s().cluster_cidr.overlaps(K3s().service_cidr)


def container(**fields: Any) -> Container:
    return Container(**{"name": "a", "image": "a:1", "memory_request_mib": 4, "memory_limit_mib": 4, **fields})


@pytest.mark.parametrize(
    "image",
    [
        "busybox:1.36", "registry.example.com:5000/team/app:v1.4.2", "app@sha256:" + "a" * 64,
        "docker.io/library/app:1@sha256:" + "0" * 64, "unterbau.lab/tools:1",
    ],
)  # fmt: skip
def test_pinned_images(image: str) -> None:
    assert container(image=image).image == image


@pytest.mark.parametrize(
    "image", ["app", "app:latest", "host:5000/app", "app:", "app@sha256:abc", "Team App:1", "a:1;reboot", "a:1\n", ""]
)
def test_images_that_are_not_pinned_or_none(image: str) -> None:
    with pytest.raises(DeclarationError, match="an image"):
        container(image=image)


@pytest.mark.parametrize("key", ["app", "example.com/App.name_1", "a" * 63, "x-y.example/a"])
def test_labels(key: str) -> None:
    assert NodeLabel(nodes="workers", key=key).key == key


@pytest.mark.parametrize("key", ["", "-app", "app-", "a" * 64, "/app", "example.com/", "Example.com/a", "a/b/c", "a b"])
def test_what_is_no_label(key: str) -> None:
    with pytest.raises(DeclarationError, match="a label's key"):
        NodeLabel(nodes="workers", key=key)


def test_a_config_map_has_a_limit() -> None:
    with pytest.raises(DeclarationError, match="found 1048577 bytes; allowed: at most 1048576"):
        KubernetesConfigMap(name="a", namespace="b", data={"k": "x" * 1048576})


@pytest.mark.parametrize(
    "fields", [{}, {"port": "http"}, {"path": "/"}, {"port": "http", "path": "/", "command": ("true",)}]
)
def test_a_probe_asks_in_one_way(fields: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="port and path, or command"):
        Probe(**fields)


def test_a_manifest_keeps_its_values_as_they_are() -> None:
    values = {"names": ["a", "b"], "inner": {"on": True, "size": 3}, "none": None}
    kept = KubernetesManifest(name="a", text="a: b", values=values).values
    assert kept == {"names": ("a", "b"), "inner": {"on": True, "size": 3}, "none": None}
