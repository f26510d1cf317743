"""Host keys: a machine that shows another key than the pinned one, or one that nobody pinned, is not spoken to.

And what is read ahead: one round trip a node, the same truth, the same errors.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.lab.commands import ADDRESS, LIMIT_S, changes, checkouts, on, pins, settled, unterbau
from tests.unit.test_prefetch_on_node import SAYS
from unterbau.connectors import prefetch
from unterbau.connectors.prefetch import Prefetch
from unterbau.lab.layout import Lab

pytestmark = pytest.mark.lab

PINNED = "/var/lib/unterbau/lab/cloud/known_hosts"


@pytest.fixture
def known_hosts(tmp_path: Path) -> Path:
    """A checkout of its own in tmp_path whose inventory trusts this file."""
    for folder in ("group_data", "deploys", "operations", "facts"):
        (tmp_path / folder).symlink_to(checkouts[0] / folder)
    (tmp_path / "inventories").mkdir()
    inventory = (checkouts[0] / "inventories" / "lab.py").read_text()
    assert PINNED in inventory
    (tmp_path / "inventories" / "lab.py").write_text(inventory.replace(PINNED, str(tmp_path / "known_hosts")))
    return tmp_path / "known_hosts"


def lines_of(lab: Lab) -> list[str]:
    return pins(lab).read_text().splitlines()


def swapped(lab: Lab) -> str:
    """The right keys but for srv-1, which is pinned to the key of srv-2."""
    key_of = {line.split(" ", 1)[0].split(",")[0]: line.split(" ", 1)[1] for line in lines_of(lab)}
    return "".join(f"{ADDRESS[name]},{name} {key_of['srv-2' if name == 'srv-1' else name]}\n" for name in key_of)


def unpinned(lab: Lab) -> str:
    return "".join(f"{line}\n" for line in lines_of(lab) if "srv-1" not in line)


@pytest.mark.parametrize(("pins", "words"), [(swapped, "does not match"), (unpinned, "No host key for")])
def test_a_node_whose_key_is_not_the_pinned_one_fails_by_name(
    lab: Lab, known_hosts: Path, pins: Callable[[Lab], str], words: str
) -> None:
    before = pins(lab)
    known_hosts.write_text(before)
    for arguments in (["plan", "lab", "--json"], ["plan", "lab", "--json", "--limit", "srv-1"]):
        ran = unterbau(*arguments, cwd=known_hosts.parent)
        assert ran.returncode == 1, ran.stdout + ran.stderr
        problems = json.loads(ran.stdout)["problems"]
        assert {problem["host"] for problem in problems} == {"srv-1"}
        assert words in problems[0]["sentence"]
    assert known_hosts.read_text() == before


def test_without_any_pinned_key_nobody_is_spoken_to_and_nothing_is_learned(lab: Lab, known_hosts: Path) -> None:
    known_hosts.write_text("")
    for command in (["plan", "lab", "--json"], ["apply", "lab", "-y", "--json"]):
        ran = unterbau(*command, cwd=known_hosts.parent)
        assert ran.returncode == 1, ran.stdout + ran.stderr
        assert all(name in ran.stdout for name in ADDRESS)
        assert "Traceback" not in ran.stderr
    assert known_hosts.read_text() == ""


FEW = 4  # one, with room for a few that are asked by themselves, as all of 15 to 23 would be
PATIENCE_S = 120  # of whoever waits for what is read ahead: here is seen that it is, not how soon on a busy machine
COUNTED = """
import sys
import pyinfra_cli
from collections import Counter
from paramiko import Transport
from unterbau.connectors import prefetch
prefetch.PATIENCE_S = int(sys.argv.pop(1))
opened, open_session = Counter(), Transport.open_session
Transport.open_session = lambda self, *a, **k: opened.update([self.getpeername()[0]]) or open_session(self, *a, **k)
from unterbau.cli import main
try:
    main()
finally:
    print("commands", *(f"{name}={count}" for name, count in opened.items()), file=sys.stderr)
"""


def counted(*arguments: str) -> tuple[int, dict[str, Any], dict[str, int]]:
    """(exit code, JSON, {address: commands that were sent to it}) of `unterbau ARGUMENTS --json`."""
    ran = subprocess.run(
        [sys.executable, "-c", COUNTED, str(PATIENCE_S), *arguments, "--json"],
        cwd=checkouts[0], text=True, capture_output=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert ran.stdout, ran.stderr
    sent = ran.stderr.rpartition("commands ")[2].partition("\n")[0].split()
    return ran.returncode, json.loads(ran.stdout), {name: int(n) for name, n in (each.split("=") for each in sent)}


@pytest.fixture
def remembered(converged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A plan that asked each fact by itself: whoever plans next reads them ahead."""
    settled()  # on a busy machine a member of Vault may have lost its leader for a moment
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, found, sent = counted("plan", "lab")
    assert (code, set(sent)) == (0, set(ADDRESS.values())), (changes(found), found["problems"])
    assert min(sent.values()) > 10
    return found


def test_a_plan_costs_one_command_a_node_and_is_the_same(remembered: dict[str, Any]) -> None:
    code, found, sent = counted("plan", "lab")
    assert (code, found, set(sent)) == (0, remembered, set(ADDRESS.values()))
    assert max(sent.values()) <= FEW


def test_what_changed_between_two_plans_is_seen_and_what_an_apply_did_too(
    remembered: dict[str, Any],
) -> None:
    on("wrk-1", "sysctl -qw net.ipv4.ip_forward=0")
    code, found, sent = counted("plan", "lab")
    assert (code, changes(found)) == (2, {("wrk-1", "net.ipv4.ip_forward")})
    assert sent[ADDRESS["srv-1"]] <= FEW
    code, report, _sent = counted("apply", "lab", "-y")
    assert (code, report["left"], [outcome["outcome"] for outcome in report["outcomes"]]) == (0, [], ["done"])
    assert on("wrk-1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "1"


def test_a_memory_that_was_tampered_with_is_as_good_as_none(remembered: dict[str, Any], tmp_path: Path) -> None:
    for file in (tmp_path / "unterbau" / "prefetch").iterdir():
        file.write_bytes(file.read_bytes().replace(b"sh -c", b"sh -x", 1))
    code, found, sent = counted("plan", "lab")
    assert (code, found) == (0, remembered)
    assert min(sent.values()) > 10


@pytest.mark.parametrize("user", ["root", "operator"])
def test_read_ahead_on_a_node_a_command_says_what_it_says_alone(
    converged: None, lab: Lab, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "PATIENCE_S", PATIENCE_S)
    lines = [f"{sudo}sh -c {shlex.quote(text)}" for sudo in ("", "sudo -H -n ") for text in SAYS]
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(pins(lab)))
        client.connect(ADDRESS["wrk-1"], username=user, key_filename=str(lab.key), look_for_keys=False)
        transport = client.get_transport()
        assert transport
        ahead = Prefetch(lines)
        ahead.begin(lambda: transport.open_session(timeout=10))
        for line in lines:
            stdin, stdout, stderr = client.exec_command(line)
            stdin.close()
            alone = (stdout.read(), stderr.read(), stdout.channel.recv_exit_status())
            found = ahead.take(line, PATIENCE_S)
            assert found is not None
            assert (line, found.stdout, found.stderr, found.status) == (line, *alone)
