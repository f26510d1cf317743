"""The lab's lines in /etc/hosts, its proxy, and rules on its wire."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from unterbau.lab import network
from unterbau.lab.layout import lab_from
from unterbau.lab.network import hosts_block, overlapping_route, proxy_configuration, proxy_filter, without_block
from unterbau.lab.rootfs import Recipe
from unterbau.lab.wire import Cut, Loss, queue_number, rules

LAB = lab_from({})
OTHER = lab_from({"UNTERBAU_LAB_NAME": "b", "UNTERBAU_LAB_SUBNET": "10.78.1.0/24"})


@pytest.mark.parametrize("before", ["", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n\n# mine\n10.77.0.11 mine\n"])
def test_names_come_and_go_without_a_trace(before: str) -> None:
    with_names = before + hosts_block(LAB)
    assert "10.77.0.22\twrk-2\n" in with_names
    assert without_block(LAB, with_names) == before
    assert without_block(LAB, before) == before


def test_another_labs_names_stay() -> None:
    both = hosts_block(OTHER) + hosts_block(LAB)
    assert without_block(LAB, both) == hosts_block(OTHER)


def test_names_that_another_lab_writes_meanwhile_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each lab has a lock of its own, and they share this file: who gets it second reads what the first one wrote."""
    file, own = tmp_path / "hosts", "127.0.0.1 localhost, a line that is longer than what takes its place\n"
    file.write_text(own + hosts_block(LAB))
    monkeypatch.setattr(network, "HOSTS", file)

    def locked_after_the_other(_file: Any, _how: int) -> None:
        file.write_text(own + hosts_block(LAB) + hosts_block(OTHER))

    monkeypatch.setattr(fcntl, "flock", locked_after_the_other)
    network._write_hosts(LAB, "")
    assert file.read_text() == own + hosts_block(OTHER)


def test_a_lost_end_mark_costs_nobody_elses_line() -> None:
    torn = hosts_block(LAB).rsplit("#", 1)[0] + "192.0.2.1 precious\n"
    assert without_block(LAB, torn) == "192.0.2.1 precious\n"


def test_the_proxy_serves_the_machines_and_knows_the_archive_only() -> None:
    configuration = proxy_configuration(LAB)
    assert "Listen 10.77.0.1\n" in configuration
    assert [line for line in configuration.splitlines() if line.startswith("Allow")] == ["Allow 10.77.0.0/24"]
    assert "FilterDefaultDeny Yes" in configuration
    recipe = Recipe("suite", ("deb [signed-by=/k] http://one.example/debian suite main",), ())
    assert proxy_filter(recipe) == "^one[.]example$\n"


@pytest.mark.parametrize(
    ("route", "taken"),
    [
        ({"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}, False),
        ({"dst": "192.0.2.0/24", "dev": "eth0"}, False),
        ({"dst": "10.77.0.0/24", "dev": "ub-lab0"}, False),
        ({"dst": "10.0.0.0/8", "dev": "eth0"}, True),
        ({"dst": "10.77.0.7", "dev": "wg0"}, True),
    ],
)
def test_a_network_that_the_host_has_elsewhere_is_seen(route: dict[str, str], taken: bool) -> None:
    assert (overlapping_route(LAB, [route]) is not None) == taken


def test_a_cut_drops_at_the_right_end() -> None:
    def dropped(direction: str) -> list[str]:
        return [line.strip() for line in rules(LAB, [Cut("vb-srv-1", direction)]).splitlines() if "name" in line]

    assert dropped("out") == ['iifname "vb-srv-1" drop']
    assert dropped("in") == ['oifname "vb-srv-1" drop']
    assert dropped("both") == ['iifname "vb-srv-1" drop', 'oifname "vb-srv-1" drop']


def test_loss_is_a_share_and_all_of_it_is_a_drop() -> None:
    assert "random mod 10000 < 250 drop" in rules(LAB, [Loss("vb-srv-1", 2.5)])
    assert 'iifname "vb-srv-1" drop' in rules(LAB, [Loss("vb-srv-1", 100)])


def test_without_faults_only_the_table_goes() -> None:
    tables = ("bridge unterbau_lab", "inet unterbau_lab_routed")
    assert rules(LAB, []) == "".join(f"table {name}\ndelete table {name}\n" for name in tables)


def test_a_routed_port_is_cut_where_ip_sees_it() -> None:
    bridged, routed = rules(LAB, [Cut("nlab-1001.0", "in"), Cut("plab-1001", "out")]).split("table inet", 1)
    assert 'oifname "nlab-1001.0" drop' in bridged
    assert 'iifname "plab-1001" drop' in routed
    assert "plab-1001" not in bridged
    assert "nlab-1001.0" not in routed


def test_queues_are_different() -> None:
    numbers = [queue_number(lab, one) for lab in (LAB, OTHER) for one in lab.machines]
    assert len(set(numbers)) == 10
    assert max(numbers) < 65536
