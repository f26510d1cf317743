"""The machines seen from outside, by another program over a login of its own: are they what is declared?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.lab import commands
from tests.lab.commands import ADDRESS, pins
from unterbau.declaration import Kernel, load
from unterbau.lab.layout import Lab

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("converged")]


@pytest.fixture(scope="module", params=ADDRESS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


Reach = Callable[[str, str], Host]


@pytest.fixture(scope="module")
def reach(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Reach:
    """Log in as somebody: one OpenSSH connection each, with pinned keys; it ends 2 s after the last question."""
    sockets = tmp_path_factory.mktemp("c")  # a socket's path is short

    def log_in(user: str, name: str) -> Host:
        control = f"-o ControlMaster=auto -o ControlPersist=2 -o ControlPath={sockets}/%C"
        options = {"ssh_identity_file": str(lab.key), "ssh_extra_args": f"{strict(lab)} {control}"}
        return testinfra.get_host(f"ssh://{user}@{name}", **options)

    return log_in


def strict(lab: Lab) -> str:
    return f"-F none -o UserKnownHostsFile={pins(lab)} -o StrictHostKeyChecking=yes -o BatchMode=yes"


@pytest.fixture(scope="module")
def node(name: str, reach: Reach) -> Host:
    return reach("root", name)


@pytest.fixture(scope="module")
def declared(name: str) -> Mapping[str, Any]:
    return load("lab", commands.checkouts[0]).data[name]


def test_it_has_its_name(node: Host, name: str) -> None:
    assert node.check_output("uname -n") == name
    assert node.file("/etc/hostname").content_string == f"{name}\n"


@pytest.mark.parametrize("unit", ["chrony", "ssh", "unterbau-firewall", "apt-daily-upgrade.timer", "apt-daily.timer"])
def test_what_it_is_there_for_runs_and_comes_back_at_boot(node: Host, unit: str) -> None:
    service = node.service(unit)
    assert (service.is_running, service.is_enabled, service.is_masked) == (True, True, False)


def test_nothing_has_failed(node: Host) -> None:
    assert node.check_output("systemctl --failed --no-legend") == ""


def test_kernel_parameters_are_the_declared_ones(node: Host, declared: Mapping[str, Any]) -> None:
    wanted = {}
    for value in declared.values():
        wanted |= value.sysctl if isinstance(value, Kernel) else {}
    assert "net.ipv4.ip_forward" in wanted
    assert {key: node.sysctl(key) for key in wanted} == wanted


def test_nothing_swaps_after_a_boot(node: Host) -> None:
    lines = [line.split() for line in node.file("/etc/fstab").content_string.splitlines()]
    assert [line for line in lines if "swap" in line and not line[0].startswith("#")] == []
    units = node.run("systemctl list-unit-files --type=swap --state=enabled,generated --no-legend")
    assert (units.stdout, units.stderr) == ("", "")  # its exit code is 1 if it lists nothing


def test_packages_are_installed(node: Host, declared: Mapping[str, Any]) -> None:
    assert [name for name in declared["base_packages"] if not node.package(name).is_installed] == []


def test_operators_log_in_with_their_key_and_become_root(
    name: str, node: Host, reach: Reach, declared: Mapping[str, Any]
) -> None:
    for operator in declared["operators"]:
        account = node.user(operator.name)
        assert account.exists
        assert account.password == "*" or account.password.startswith("!")
        own = reach(operator.name, name)
        assert own.user().name == operator.name
        assert own.check_output("sudo -n id -u") == "0"
    assert node.file("/etc/sudoers.d/unterbau-operators").mode == 0o440


def test_only_what_is_declared_listens(node: Host, name: str, declared: Mapping[str, Any]) -> None:
    port = declared["ssh_server"].port
    own = declared["node"].address
    servers = {"udp://0.0.0.0:123", f"tcp://{own}:8200", f"tcp://{own}:8201"} if name.startswith("srv") else set()
    database = {f"tcp://{own}:5432", "tcp://127.0.0.1:5432", "tcp://::1:5432"} if name == "wrk-1" else set()
    storage = {f"tcp://{address}:9000" for address in (own, "127.0.0.1", "::1")}
    storage |= {f"tcp://{address}:9443" for address in (own, "127.0.0.1")}
    found = {socket for socket in node.socket.get_listening_sockets() if not socket.startswith("unix:")}
    assert found == {f"tcp://0.0.0.0:{port}", f"tcp://:::{port}", *servers, *database, *storage}


def test_nobody_enters_without_a_key(lab: Lab, name: str) -> None:
    def exit_code(options: str) -> int:
        return testinfra.get_host("local://").run(f"ssh {strict(lab)} {options} root@{name} true").rc

    assert exit_code(f"-i {lab.key}") == 0
    assert exit_code("-o PubkeyAuthentication=no") == 255
