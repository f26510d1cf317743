"""`unterbau kubernetes`: a kubeconfig that a real API lets in, for what its group may, and a status."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from operations.kubernetes_render import operator_roles
from tests.unit.kube_server import Endpoint, Server, awaited
from unterbau.kubernetes import cli, kubeconfig, status
from unterbau.kubernetes.connection import Cluster, KubernetesError
from unterbau.plan.session import SessionError


@pytest.fixture
def cluster(kube_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    connector = kube_endpoint.connector
    monkeypatch.setattr(connector.host.data, "get", {"k3s": SimpleNamespace(name="demo")}.get, raising=False)
    found = Cluster(connector)

    @contextmanager
    def connected(environment: str) -> Iterator[Cluster]:
        if environment != "demo":
            raise SessionError("cannot reach Kubernetes: none declares none")
        yield found

    monkeypatch.setattr(cli, "_connected", connected)
    return found


def status_of(kube: Server, config: dict[str, Any], method: str, path: str, body: Any = None) -> int:
    user = config["users"][0]["user"]
    pem = b64decode(user["client-key-data"]).decode() + b64decode(user["client-certificate-data"]).decode()
    with kube.session(pem) as http:
        return http.request(method, kube.url + path, json=body, timeout=10).status_code


@pytest.fixture
def bound(kube: Server) -> Iterator[Server]:
    """With the groups that the layer binds, under other names: the layer has tests of its own."""
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    for one in operator_roles():
        kube.call("POST", path, {**one.manifest, "metadata": {"name": f"test-{one.ref.name}"}})
    yield kube
    for one in operator_roles():
        kube.call("DELETE", f"{path}/test-{one.ref.name}")


@pytest.mark.parametrize(("options", "secrets"), [([], 403), (["--admin"], 200)])
def test_a_kubeconfig_may_what_its_group_may(
    bound: Server, cluster: Cluster, tmp_path: Path, options: list[str], secrets: int
) -> None:
    kube, file = bound, tmp_path / "kubeconfig"
    made = CliRunner().invoke(
        cli.kubernetes, ["kubeconfig", "--env", "demo", "-o", str(file), "--user", "alice", *options]
    )
    assert made.exit_code == 0, made.output
    assert file.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in made.output
    config = yaml.safe_load(file.read_text())
    assert config["clusters"][0]["cluster"]["server"] == kube.url
    maps = "/api/v1/namespaces/default/configmaps"
    process = kube.processes["kube-apiserver"]
    awaited(lambda: status_of(kube, config, "GET", maps) == 200, process, Path(os.devnull))
    assert status_of(kube, config, "GET", "/api/v1/namespaces/default/secrets") == secrets
    assert kube.get("/apis/certificates.k8s.io/v1/certificatesigningrequests")["items"] == []
    again = CliRunner().invoke(cli.kubernetes, ["kubeconfig", "--env", "demo", "-o", str(file)])
    assert again.exit_code == 1
    assert "it is there already" in again.output


def test_through_a_forwarded_port_the_server_s_own_name_is_verified(cluster: Cluster) -> None:
    text = kubeconfig.made(cluster, "bob", admin=False, life_s=600, server="https://localhost:16443").unmask()
    one = yaml.safe_load(text)["clusters"][0]["cluster"]
    assert (one["server"], one["tls-server-name"]) == ("https://localhost:16443", "127.0.0.1")


@pytest.mark.parametrize("user", ["", "../x", "a b", "system:masters", "A"])
def test_a_user_that_is_no_name_is_refused(cluster: Cluster, user: str) -> None:
    with pytest.raises(KubernetesError, match="cannot make a kubeconfig for"):
        kubeconfig.made(cluster, user, admin=False, life_s=600)


def node(name: str, ready: str, **spec: Any) -> dict[str, Any]:
    labels = {"node-role.kubernetes.io/etcd": "true", "node-role.kubernetes.io/control-plane": "true"}
    state = {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": {"kubeletVersion": "v1.34.4"}}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": state}


def seen(nodes: list[dict[str, Any]], declared: set[str], failing: str = "") -> status.ClusterStatus:
    answers = {
        "HEALTH": {"version": "v1.34.4", "checks": {"ping": True, **({failing: False} if failing else {})}},
        "LIST": nodes,
    }
    fake: Any = SimpleNamespace(name="demo", ask=lambda verb, _path, _body=None: answers[verb])
    return status.read(fake, declared)


@pytest.mark.parametrize(
    ("found", "code", "problems"),
    [
        (seen([node("a", "True")], {"a"}), 0, []),
        (seen([node("a", "True")], set()), 0, []),
        (seen([node("a", "True"), node("b", "Unknown")], {"a", "b"}), 2, ["b: it is not ready"]),
        (seen([node("a", "True", unschedulable=True)], {"a"}), 2, ["a: no pods are put there (cordoned)"]),
        (seen([node("a", "True")], {"b"}), 2, ["b: declared, and not in", "a: in the cluster, and not declared"]),
        (seen([node("a", "True")], {"a"}, "etcd"), 2, ["the API's check etcd fails"]),
        (seen([node("a", "False")], {"a"}), 1, ["a: it is not ready"]),
        (seen([], {"a"}), 1, ["a: declared, and not in the cluster"]),
    ],
)
def test_what_is_wrong_has_a_sentence_and_a_code(found: status.ClusterStatus, code: int, problems: list[str]) -> None:
    assert found.exit_code == code
    said = list(found.problems())
    assert len(said) == len(problems)
    assert all(one.startswith(words) for one, words in zip(said, problems, strict=True))
    assert all(f"! {one}" in cli.table(found) for one in said)


def test_a_real_api_tells_its_status(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "declared", lambda _self: set())
    made = CliRunner().invoke(cli.kubernetes, ["status", "demo", "--json"])
    assert made.exit_code == 1  # it has no nodes
    assert json.loads(made.output)["failing"] == []
    assert CliRunner().invoke(cli.kubernetes, ["status", "none"]).exit_code == 1
