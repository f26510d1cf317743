"""One declaration at a time: what it holds, what it refuses, how it shows itself."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paramiko import Transport
from pydantic import ValidationError
from pyinfra.api import HiddenValue

from unterbau.declaration import (
    DeclarationError,
    Flow,
    Journal,
    Kernel,
    Network,
    Node,
    Operator,
    SecurityUpgrades,
    SshServer,
    TimeSync,
    collecting,
    flows_of,
    hosts,
    public_key_file,
)
from unterbau.declaration.base import Declaration
from unterbau.declaration.masking import SENSITIVE, shown
from unterbau.declaration.reference import TYPES

PRIVATE_KEY = "\n".join(
    ["-----BEGIN OPENSSH PRIVATE" + " KEY-----", "hunter2", ""]
)  # in two parts: scanners look for it whole
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID+ClvZzC7vKi/ZHHZkAZ5jxRpMxgyKFD1SMe9J+pL/B first@example"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAnnlliC5EqHxJy526eO8j53vUa1E8KIgcTFcbrL/NFN second@example"
WEAK_KEY = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCwMkGzLRMk67IH6PgsrsvsPXt9GDnA/sV3+OyTcvv25a9JDHzq28wExgXi/mZrmfLj1sDCHUNw7"
    "vBv4tIWn7iYCPzYzEXLHmCmUGuwlB2TQqXECdba8+zn/nMJrcK+XmgAlbn2kxpPaB7XzF601+bzS0XkcPNDRAGeXCY3jR55GSyQlO4YFO+qalSu4B"
    "fSNLJ420dOCY4QD6WVurXE2dRH9MtIGpBkivTa7HadZjpcAvJJj20/PMKZESG0aQ6BCN5cE3wZ0mXIIizA4wFCSZtqMg27Q7UmlDiLZYMFJeMGg8L"
    "JTH+zgEAScO4qiIDIK/z0aPtmwp+xlaz7Jz0wHYCz weak@example"
)


def node(**changes: Any) -> Node:
    return Node(**{"name": "srv-1", "address": "10.0.0.1", "known_hosts": "known_hosts", **changes})


def problem_of(kind: type, **fields: Any) -> str:
    """The only problem, without its place: 'Flow ssh: ports: found …; allowed: …'."""
    with pytest.raises(DeclarationError) as caught:
        kind(**fields)
    (problem,) = caught.value.problems
    return str(problem).partition(": ")[2]


def test_addresses_may_be_written_as_text() -> None:
    assert node().address == IPv4Address("10.0.0.1")
    network = Network(cidr="10.0.0.0/24", domain="x.internal", controllers=["192.0.2.1/32"])
    assert network.controllers == (IPv4Network("192.0.2.1/32"),)


def test_declarations_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        node().name = "srv-2"  # type: ignore[misc]


def test_without_a_collector_the_first_bad_declaration_raises_with_its_place() -> None:
    with pytest.raises(DeclarationError) as caught:
        node(
            ssh_port="22",
        )
    (problem,) = caught.value.problems
    assert Path(problem.file) == Path(__file__)
    assert (problem.object, problem.field, problem.found) == ("Node srv-1", "ssh_port", "'22'")


def test_a_problem_is_at_the_line_of_its_field() -> None:
    with collecting() as collector:
        Flow(
            name="ssh",
            source="controllers",
            target="all",
            protocol="sctp",
            ports=(
                22,
                0,
            ),
        )
    protocol, port = collector.problems
    assert port.line - protocol.line == 3
    assert (protocol.field, port.field) == ("protocol", "ports[1]")


def test_a_failed_declaration_is_inert_and_what_uses_it_is_no_new_problem() -> None:
    with collecting() as collector:
        server = SshServer(port="22")
        flow = Flow(name="ssh", source="controllers", target="all", protocol="tcp", ports=(server.port,))
    assert [problem.field for problem in collector.problems] == ["port"]
    assert not collector.valid(server)
    assert not collector.valid(flow)
    assert flow.name == "ssh"
    assert list(server.port.anything[3].at_all()) == []


def test_collecting_ends_with_its_block() -> None:
    with collecting() as collector:
        Journal(max_use_mib="a")
    assert len(collector.problems) == 1
    with pytest.raises(DeclarationError):
        Journal(max_use_mib="a")


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (
            Journal, {"max_use_mib": "1G"},
            "Journal: max_use_mib: found '1G'; allowed: a whole number of MiB (write 1024)",
        ),
        (Journal, {"max_use_mib": "200K"}, "Journal: max_use_mib: found '200K'; allowed: a whole number of MiB"),
        (
            Journal, {"max_retention_days": "2w"},
            "Journal: max_retention_days: found '2w'; allowed: a whole number of days (write 14)",
        ),
        (
            SecurityUpgrades, {"slot_minutes": "90s"},
            "SecurityUpgrades: slot_minutes: found '90s'; allowed: a whole number of minutes",
        ),
        (SshServer, {"max_auth_tries": 0}, "SshServer: max_auth_tries: found 0; allowed: a whole number at least 1"),
        (TimeSync, {"servers": ["a b"]}, None),
        (Kernel, {"sysctl": {"vm.swappiness": 1.5}}, None),
        (Kernel, {"sysctl": {"kernel.core_pattern": "a\nb"}}, None),
        (Kernel, {"modules": ["x; reboot"]}, None),
        (Journal, {"max_use_mib": True}, "Journal: max_use_mib: found True; allowed: a whole number of MiB"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_is_allowed(kind: type, fields: dict[str, Any], said: str | None) -> None:
    problem = problem_of(kind, **fields)
    assert said is None or problem == said


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda parts: (
        st.lists(parts, max_size=3) | st.tuples(parts) | st.dictionaries(st.text(max_size=5), parts, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", [kind for _, kind in TYPES])
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_is_written_is_valid_or_a_problem_of_that_field(kind: type[Declaration], data: st.DataObject) -> None:
    names = [field.alias or name for name, field in kind.model_fields.items()]
    fields = data.draw(st.dictionaries(st.sampled_from([*names, "unknown"]), anything))
    with collecting() as collector:
        made = kind(**fields)
    assert collector.valid(made) == (not collector.problems)
    for problem in collector.problems:
        assert problem.field.split("[")[0] in {*names, "unknown"}
        assert problem.found
        assert problem.allowed
        assert "\n" not in str(problem)


@pytest.mark.parametrize("secret", [PRIVATE_KEY, HiddenValue("hunter2")])
def test_a_secret_in_the_wrong_place_is_not_repeated(secret: Any) -> None:
    for kind, fields in (
        (Node, {"name": secret, "address": secret, "ssh_key": secret, "known_hosts": secret}),
        (Operator, {"name": "ada", "authorized_keys": (secret,)}),
        (Operator, {"name": "ada", "authorized_keys": secret}),
        (Kernel, {"sysctl": {"kernel.hostname": secret}}),
        (Journal, {"passphrase": secret}),
    ):
        with pytest.raises(DeclarationError) as caught:
            kind(**fields)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_what_a_report_shows_of_a_value() -> None:
    assert shown("hunter2", "admin_password") == SENSITIVE
    assert shown("hunter2", "address") == "'hunter2'"
    assert shown("x" * 100) == "'" + "x" * 58 + "…"
    assert shown({"a": "hunter2"}) == "a dict"
    assert shown(Journal()) == "a Journal"


def test_a_group_of_hosts_is_what_pyinfra_reads() -> None:
    srv = node(ssh_key="~/.ssh/id", ssh_port=2222)
    assert hosts(srv) == [
        (
            "@node/srv-1",
            {
                "node": srv, "ssh_hostname": "10.0.0.1", "ssh_user": "root", "ssh_port": 2222, "ssh_key": "~/.ssh/id",
                "ssh_known_hosts_file": "known_hosts",
            },
        )
    ]  # fmt: skip
    assert "ssh_key" not in hosts(node())[0][1]


def test_flows_of_all_names_are_united_by_name() -> None:
    ssh = Flow(name="ssh", source="controllers", target="all", protocol="tcp", ports=(22,))
    etcd = Flow(name="etcd", source="servers", target="servers", protocol="tcp", ports=("2379-2380",))
    data = {"flows": (ssh,), "flows_k3s": (etcd, ssh), "flowers": (1,), "journal": Journal()}
    assert flows_of(data) == (etcd, ssh)

    class HostData:
        def dict(self) -> dict[str, Any]:
            return data

    assert flows_of(HostData()) == (etcd, ssh)


def test_the_last_modern_algorithm_cannot_be_a_weak_one() -> None:
    for weak in ("aes128-cbc", "hmac-sha1", "diffie-hellman-group14-sha1", "ssh-rsa", "hmac-sha1-etm@openssh.com"):
        assert "without known weakness" in problem_of(SshServer, macs=(weak,))
    assert SshServer(host_key_algorithms=("rsa-sha2-256",)).host_key_algorithms == ("rsa-sha2-256",)


def test_default_algorithms_include_what_our_client_speaks() -> None:
    """Or the first apply would end every further one."""
    server = SshServer()
    for ours, theirs in (
        (server.ciphers, Transport._preferred_ciphers),
        (server.macs, Transport._preferred_macs),
        (server.kex_algorithms, Transport._preferred_kex),
        (server.host_key_algorithms, Transport._preferred_keys),
    ):
        assert set(ours) & set(theirs)


def test_public_keys() -> None:
    assert Operator(name="ada", authorized_keys=(KEY, OTHER_KEY)).authorized_keys == (KEY, OTHER_KEY)
    assert "3072 bits or more" in problem_of(Operator, name="ada", authorized_keys=(WEAK_KEY,))
    assert "is damaged" in problem_of(Operator, name="ada", authorized_keys=(KEY.replace("AAAAC3", "AAAAC4"),))
    assert "found ()" in problem_of(Operator, name="ada", authorized_keys=())
    assert "each key once" in problem_of(Operator, name="ada", authorized_keys=(KEY, KEY.replace("first", "again")))
    assert "on one line" in problem_of(Operator, name="ada", authorized_keys=(KEY + "\n" + OTHER_KEY,))


def test_a_key_file_is_read_when_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    operator = Operator(name="ada", authorized_keys=(public_key_file(str(path), made_by="run `make key`"),))
    with pytest.raises(ValueError) as caught:
        _ = operator.authorized_keys
    assert str(caught.value) == f"cannot read the public key {path}: No such file or directory; run `make key`"
    path.write_text(KEY + "\n")
    assert operator.authorized_keys == (KEY,)


def test_a_private_key_in_a_key_file_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(PRIVATE_KEY)
    with pytest.raises(ValueError) as caught:
        public_key_file(str(path)).read()
    assert "(a private key, not shown); allowed: the public half" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_everything_is_json() -> None:
    operator = Operator(name="ada", authorized_keys=(public_key_file("/k.pub"), KEY))
    network = Network(cidr="10.0.0.0/24", domain="x.internal", controllers=("192.0.2.1/32",))
    assert json.loads(json.dumps([node().to_json(), network.to_json(), operator.to_json()])) == [
        {
            "name": "srv-1", "address": "10.0.0.1", "ssh_user": "root", "ssh_port": 22, "ssh_key": None,
            "known_hosts": "known_hosts",
        },
        {"cidr": "10.0.0.0/24", "domain": "x.internal", "controllers": ["192.0.2.1/32"]},
        {"name": "ada", "authorized_keys": [{"path": "/k.pub", "made_by": ""}, KEY], "sudo": True},
    ]  # fmt: skip
