"""What the lab's cloud makes of a server, before anything is made: names, interfaces, filters, its first boot."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from unterbau.lab import everyone, inside, lifecycle
from unterbau.lab.cloud import cloud_config, filtering, kept, nspawn, wiring
from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.kept import Kept
from unterbau.lab.cloud.machines import Machine
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab, lab_from

NET: Record = {
    "network": 1002, "ip": "10.77.0.51", "alias_ips": [], "mac_address": "86:00:03:ec:03:ea",
    "ip_range": "10.77.0.0/24", "routes": [],
}  # fmt: skip
SERVER = Kept(1004, "web-1", "198.18.77.1", (), (NET,), (), None, on=True)
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return lab_from({"UNTERBAU_LAB_DIR": str(tmp_path)})


def keep(lab: Lab, *servers: Kept) -> None:
    for server in servers:
        kept.folder(lab, server.id).mkdir(parents=True)
        kept.write(lab, server)


def chain(text: str, name: str) -> list[str]:
    """The rules of one chain."""
    inner = text.partition(f"chain {name} {{\n")[2].partition("  }\n")[0]
    return [line.strip() for line in inner.splitlines()]


def rule(direction: str, protocol: str, port: str | None, *ranges: str) -> Record:
    ways: Record = {"source_ips": [], "destination_ips": []} | {
        "source_ips" if direction == "in" else "destination_ips": list(ranges)
    }
    return {"direction": direction, "protocol": protocol, "port": port, **ways}


def test_a_server_without_a_firewall_is_open(lab: Lab) -> None:
    text = filtering.ruleset(lab, [SERVER])
    assert "jump" not in text
    assert 'iifname "plab-1004" ip saddr != { 198.18.77.1 } drop' in chain(text, "sent")


def test_a_firewall_lets_in_what_it_says_and_out_everything(lab: Lab) -> None:
    rules = (
        rule("in", "tcp", "22", "192.0.2.0/24", "2001:db8::/32", "198.51.100.1/32"),
        rule("in", "udp", "1000-2000", "0.0.0.0/0", "::/0"),
        rule("in", "tcp", "any", "192.0.2.0/24"),
        rule("in", "icmp", None, "0.0.0.0/0"),
        rule("in", "tcp", "80", "::/0"),
    )
    text = filtering.ruleset(lab, [replace(SERVER, rules=rules)])
    assert chain(text, "in-1004") == [
        "ip saddr { 192.0.2.0/24, 198.51.100.1/32 } tcp dport 22 accept",
        "udp dport 1000-2000 accept",
        "ip saddr { 192.0.2.0/24 } tcp dport 1-65535 accept",
        "meta l4proto icmp accept",
        "drop",
    ]
    assert chain(text, "received")[-1] == 'oifname "plab-1004" jump in-1004'
    assert "out-1004" not in text


def test_a_firewall_without_rules_is_closed_and_one_rule_out_closes_the_way_out(lab: Lab) -> None:
    assert chain(filtering.ruleset(lab, [replace(SERVER, rules=())]), "in-1004") == ["drop"]
    text = filtering.ruleset(lab, [replace(SERVER, rules=(rule("out", "tcp", "443", "0.0.0.0/0"),))])
    assert chain(text, "in-1004") == ["drop"]
    assert chain(text, "out-1004") == ["tcp dport 443 accept", "drop"]
    sent = chain(text, "sent")
    assert sent.index("ct state established,related accept") < sent.index('iifname "plab-1004" jump out-1004')


def test_only_public_interfaces_are_filtered(lab: Lab) -> None:
    text = filtering.ruleset(lab, [replace(SERVER, public_ipv4=None, rules=())])
    assert "1004" not in text


def test_names_are_short_enough_for_any_lab() -> None:
    lab = lab_from({"UNTERBAU_LAB_NAME": "spare", "UNTERBAU_LAB_SUBNET": "10.78.250.0/24"})
    late = replace(SERVER, id=999_999)
    assert all(len(port) <= 15 for port in kept.host_machine(lab, late).ports)  # the kernel's limit


def test_two_labs_share_no_address(lab: Lab) -> None:
    other = lab_from({"UNTERBAU_LAB_NAME": "b", "UNTERBAU_LAB_SUBNET": "10.78.1.0/24"})
    assert (lab.cloud_endpoint, str(lab.public)) == ("http://127.77.0.1:8080/v1", "198.18.77.0/24")
    assert other.cloud_endpoint != lab.cloud_endpoint
    assert not other.public.overlaps(lab.public)


def test_an_interface_that_changed_is_another_one(lab: Lab) -> None:
    before = {one.port: one.digest for one in wiring.plugs(lab, SERVER)}
    moved = replace(SERVER, private_net=({**NET, "ip": "10.77.0.52"},))
    after = {one.port: one.digest for one in wiring.plugs(lab, moved)}
    assert before.keys() == after.keys() == {"plab-1004", "nlab-1004.0"}
    assert before["plab-1004"] == after["plab-1004"]
    assert before["nlab-1004.0"] != after["nlab-1004.0"]


def test_the_private_interface_is_the_apis_and_the_public_one_has_the_way_out(lab: Lab) -> None:
    public, private = wiring.plugs(lab, SERVER)
    assert "address 86:00:03:ec:03:ea" in private.commands
    assert "address add 10.77.0.51/24 dev enp7s0" in private.commands
    assert "default" not in private.commands
    assert "route add default via 172.31.1.1" in public.commands


def test_without_a_public_interface_the_way_out_is_the_networks(lab: Lab) -> None:
    [alone] = wiring.plugs(lab, replace(SERVER, public_ipv4=None))
    assert "route add default via 10.77.0.1" in alone.commands  # which refuses at once
    assert "route add 169.254.169.254 via 10.77.0.1" in alone.commands
    routes = [
        {"destination": "0.0.0.0/0", "gateway": "10.77.0.9"},
        {"destination": "10.8.0.0/16", "gateway": "10.77.0.8"},
    ]
    [routed] = wiring.plugs(lab, replace(SERVER, public_ipv4=None, private_net=({**NET, "routes": routes},)))
    assert "route add default via 10.77.0.9" in routed.commands
    assert "route replace 10.8.0.0/16 via 10.77.0.8" in routed.commands


def test_a_boot_plugs_everything_and_each_mark_comes_last(lab: Lab) -> None:
    script = wiring.boot_script(lab, SERVER).splitlines()
    for one in wiring.plugs(lab, SERVER):
        assert script.index(f"ip link set dev {one.port} alias {one.digest}") > max(
            number for number, line in enumerate(script) if f"{one.port} " in line and "alias" not in line
        )


def test_what_is_kept_is_read_again_and_has_no_user_data(lab: Lab) -> None:
    machine = Machine(
        1004, "web-1", "debian-12", 4, 8.0, 80, ("ssh-ed25519 AAAA",), "#cloud-config\nsecret: yes\n", "198.18.77.1",
        None, (NET,), (), (), (rule("in", "tcp", "22", "0.0.0.0/0"),),
    )  # fmt: skip
    server = kept.of(machine, on=True)
    keep(lab, server)
    assert kept.read(lab, 1004) == server
    assert "secret" not in (kept.folder(lab, 1004) / "server.json").read_text()
    kept.forget(lab, 1004)
    assert kept.read(lab, 1004) is None
    assert list(kept.all_of(lab)) == []


def test_everyone_is_found_by_name(lab: Lab) -> None:
    assert [one.name for one in everyone.machines(lab)] == ["srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"]
    keep(lab, SERVER)
    assert [(one.name, one.key, str(one.address)) for one in everyone.machines(lab)] == [
        ("web-1", "cloud-1004", "10.77.0.51")
    ]
    with pytest.raises(LabError, match="cannot find machine 'srv-1': the lab has web-1"):
        everyone.machine(lab, "srv-1")
    lab.machines[0].directory.mkdir(parents=True)
    lab.machines[0].complete.touch()
    assert [one.name for one in everyone.machines(lab)] == ["srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2", "web-1"]


def test_a_machine_without_a_network_is_at_its_public_address_or_nowhere(lab: Lab) -> None:
    assert str(kept.host_machine(lab, replace(SERVER, private_net=())).address) == "198.18.77.1"
    nowhere = kept.host_machine(lab, replace(SERVER, private_net=(), public_ipv4=None))
    assert (nowhere.address, nowhere.ports) == (kept.NOWHERE, ("nlab-1004.0",))


def test_host_keys_and_logins_come_from_user_data(lab: Lab) -> None:
    data = {
        "hostname": "other", "ssh_keys": {"ed25519_private": PRIVATE, "ed25519_public": "ssh-ed25519 AAAA host"},
        "ssh_authorized_keys": ["ssh-ed25519 BBBB second"], "package_update": True,
    }  # fmt: skip
    who = cloud_config.identity("web-1", ["ssh-ed25519 AAAA first\n"], "#cloud-config\n" + json.dumps(data))
    assert (who.hostname, who.authorized_keys) == ("other", "ssh-ed25519 AAAA first\nssh-ed25519 BBBB second\n")
    assert who.host_keys == {
        "ssh_host_ed25519_key": PRIVATE, "ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA host\n",
    }  # fmt: skip
    one = kept.host_machine(lab, SERVER)
    inside.prepare(lab, one, Path("/rootfs"), who)
    key = one.upper / "etc/ssh/ssh_host_ed25519_key"
    assert (key.read_text(), stat.S_IMODE(key.stat().st_mode)) == (PRIVATE, 0o600)
    assert list((one.upper / "etc/systemd/network").iterdir()) == []  # its interfaces are there before it boots


@pytest.mark.parametrize("user_data", ["", "#!/bin/sh\necho\n", "#cloud-config\n", "#cloud-config\nruncmd: [id]\n"])
def test_a_server_without_host_keys_of_its_own_gets_new_ones(user_data: str) -> None:
    first, second = (cloud_config.identity("web-1", [], user_data) for _ in range(2))
    assert first.hostname == "web-1"
    assert set(first.host_keys) == {"ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"}
    assert first.host_keys != second.host_keys


@pytest.mark.parametrize(
    "user_data",
    [
        "#cloud-config\nssh_keys: [secret\n",
        "#cloud-config\nssh_keys: secret\n",
        "#cloud-config\nhostname: 'a; secret'\n",
    ],
)
def test_bad_user_data_is_refused_without_its_text(user_data: str) -> None:
    with pytest.raises(LabError, match="cannot read user_data") as refused:
        cloud_config.identity("web-1", [], user_data)
    shown = [refused.value, refused.value.__cause__]
    assert "secret" not in str(shown)


def test_the_five_are_not_made_where_a_server_has_an_address_of_theirs(lab: Lab) -> None:
    keep(lab, replace(SERVER, private_net=({**NET, "ip": "10.77.0.21"},)))
    with pytest.raises(LabError, match=r"cannot make wrk-1: web-1 of the lab's cloud has its address 10[.]77[.]0[.]21"):
        lifecycle.check_free(lab)
    keep(lab, replace(SERVER, id=1005, name="srv-2"))
    with pytest.raises(LabError, match="cannot make srv-2: a server of the lab's cloud has its name"):
        lifecycle.check_free(lab)


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        ("web-1", "10.77.0.21", "wrk-1 of the lab has it"),
        ("web-1", "10.77.0.1", "without 10.77.0.1"),
        ("web-1", "10.78.0.5", "the lab's private network is 10.77.0.0/24"),
        ("wrk-1", "10.77.0.51", "a machine of the lab is called so"),
    ],
)
def test_a_server_takes_no_name_and_no_address_of_the_five(lab: Lab, name: str, address: str, said: str) -> None:
    lab.machines[3].directory.mkdir(parents=True)
    lab.machines[3].complete.touch()
    with pytest.raises(LabError, match="cannot") as refused:
        nspawn.check(lab, replace(SERVER, name=name, private_net=({**NET, "ip": address},)))
    assert said in str(refused.value)
    nspawn.check(lab, SERVER)
