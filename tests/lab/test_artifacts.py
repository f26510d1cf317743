"""Binaries on real machines: pushed, verified there, healed, and whole whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.commands import LIMIT_S, ROOT, UNTERBAU, on
from tests.lab.conftest import LabCommand
from unterbau.artifacts.store import _look

pytestmark = pytest.mark.lab

SIZE_BYTES = 128 << 20
NODES = ("spare-srv-1", "spare-srv-2", "spare-srv-3")
NODE = NODES[0]

DATA = """
from unterbau.declaration import Kernel, Network, Operator, TimeSync, public_key_file
network = Network(cidr="10.78.250.0/24", domain="lab.internal", controllers=("10.78.250.1/32",))
time_sync = TimeSync(servers=(), island="servers", control_clock=False)
kernel_modules = Kernel()
key = "{state}/ssh/id_ed25519.pub"
operators = (Operator(name="operator", authorized_keys=(public_key_file(key, made_by="`unterbau lab up`"),)),)
del key
"""
INVENTORY = """
from unterbau.declaration import Node, hosts
_ssh = {{"ssh_key": "{state}/ssh/id_ed25519", "known_hosts": "{state}/ssh/known_hosts", "ssh_user": "{user}"}}
servers = hosts(
    Node(name="spare-srv-1", address="10.78.250.11", **_ssh),
    Node(name="spare-srv-2", address="10.78.250.12", **_ssh),
    Node(name="spare-srv-3", address="10.78.250.13", **_ssh),
)
"""
DEPLOY = """
from pyinfra.api import deploy
from operations import artifact
from unterbau.artifacts import artifact as pinned

@deploy("tools")
def tools():
    artifact.installed(pinned("tool"){mode}, name="tools | tool")

tools()
"""


@dataclass(frozen=True)
class Site:
    """A checkout of its own whose one layer installs `tool`, from a mirror that the test fills."""

    root: Path
    spare: LabCommand

    def pin(self, version: str, data: bytes) -> str:
        """Pin this content as `tool`; its place on a node."""
        digest = hashlib.sha256(data).hexdigest()
        (self.root / "mirror").mkdir(exist_ok=True)
        (self.root / "mirror" / digest).write_bytes(data)
        pinned: dict[str, Any] = {"version": version, "architecture": "amd64", "sha256": digest}
        pinned |= {"size_bytes": len(data), "sources": [{"kind": "file", "path": str(self.root / "mirror")}]}
        (self.root / "locks" / "artifacts.yaml").write_text(yaml.safe_dump({"artifacts": {"tool": pinned}}))
        return f"/opt/unterbau/tool/{version}-{digest[:12]}/tool"

    def declare(self, mode: str | None = None) -> None:
        """How the tool is installed: without a word about its mode, or with this one."""
        declared = "" if mode is None else f", mode={mode!r}"
        (self.root / "deploys" / "site.py").write_text(DEPLOY.format(mode=declared))

    def log_in_as(self, user: str) -> None:
        inventory = INVENTORY.format(state=self.spare.lab.state, user=user)
        (self.root / "inventories" / "spare.py").write_text(inventory)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "UNTERBAU_CACHE_DIR": str(self.root / "cache")}
        return subprocess.Popen(
            [*UNTERBAU, *arguments], cwd=self.root, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        """(exit code, everything that it said)."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=LIMIT_S)
        return process.returncode, out + err

    def plan(self, *arguments: str) -> list[list[Any]]:
        """[[host, subject, old, new], …] of what would change."""
        process = self.start("plan", "spare", "--json", *arguments)
        document = json.loads(process.communicate(timeout=LIMIT_S)[0])
        assert document["problems"] == []
        found = [(one["host"], part) for one in document["changes"] for part in one["changes"]]
        return [[host, part["subject"], part["old"], part["new"]] for host, part in found]

    def applied(self, *arguments: str) -> str:
        code, said = self.run("apply", "spare", "-y", *arguments)
        assert code == 0, said
        return said

    def on(self, node: str, command: str) -> str:
        return on(node, command, self.spare.lab)

    def waiting(self, node: str, command: str) -> subprocess.Popen[str]:
        return self.spare.start("shell", node, "--", "sh", "-c", command)


@pytest.fixture
def site(spare: LabCommand, tmp_path: Path) -> Iterator[Site]:
    for folder in ("inventories", "group_data", "deploys", "locks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "group_data" / "all.py").symlink_to(ROOT / "group_data" / "all.py")
    (tmp_path / "group_data" / "spare.py").write_text(DATA.format(state=spare.lab.state))
    found = Site(tmp_path, spare)
    found.declare()
    found.log_in_as("root")
    yield found
    for node in NODES:
        found.on(node, "mountpoint -q /opt/unterbau && umount /opt/unterbau; rm -rf /opt/unterbau")


def pushing(path: str) -> str:
    """A command that ends when the push to this place has begun."""
    return f"until test -s {Path(path).parent}/.upload/tool; do sleep 0.02; done"


def content(mark: str) -> bytes:
    """Long enough that a push of it can be met half-way."""
    return mark.encode().ljust(SIZE_BYTES, b"\0")


def sums(site: Site, path: str) -> set[str]:
    return {site.on(node, f"sha256sum < {path}").split()[0] for node in NODES}


def test_all_nodes_get_it_whole_from_one_fetch_and_then_nothing_changes(site: Site) -> None:
    path = site.pin("1.0.0", content("one"))
    assert [row[:3] for row in site.plan()] == [[node, path, None] for node in NODES]
    assert not (site.root / "cache").exists()  # a plan fetches nothing
    site.applied()
    assert sums(site, path) == {hashlib.sha256(content("one")).hexdigest()}
    assert site.on(NODE, f"stat -c '%U %a' {path} {Path(path).parent}/.verified").split("\n")[:2] == [
        "root 755",
        "root 600",
    ]
    assert site.on(NODE, f"ls -A {Path(path).parent}").split() == [".verified", "tool"]
    assert site.plan() == []
    site.spare.must("fault", "reboot", NODE)
    assert site.plan() == []  # the stamp still fits: nothing to hash, nothing to do


def by_hand_longer(path: str) -> str:
    return f"printf x >> {path}"


def by_hand_same_size(path: str) -> str:
    return f"printf X | dd of={path} conv=notrunc status=none"


def by_hand_open(path: str) -> str:
    return f"chmod 777 {path}; chown daemon {path}"


def by_hand_open_folder(path: str) -> str:
    return f"chmod 777 {Path(path).parent}"


@pytest.mark.parametrize("harm", [by_hand_longer, by_hand_same_size, by_hand_open, by_hand_open_folder])
def test_what_is_done_to_it_by_hand_is_seen_and_undone(site: Site, harm: Callable[[str], str]) -> None:
    path = site.pin("1.0.0", b"#!/bin/sh\necho one\n")
    site.applied("--limit", NODE)
    site.on(NODE, harm(path))
    changed = site.plan("--limit", NODE)
    assert changed
    assert all(row[1].startswith(path) for row in changed)
    site.applied("--limit", NODE)
    assert site.plan("--limit", NODE) == []
    assert site.on(NODE, path) == "one\n"
    assert site.on(NODE, f"stat -c '%U %a' {path} {Path(path).parent}") == "root 755\nroot 755\n"


def test_a_program_can_be_for_running_only(site: Site) -> None:
    """MinIO would compare a sum of itself with the other members', which no rolling upgrade would survive."""
    path = site.pin("1.0.0", Path("/bin/true").read_bytes())
    site.declare("0711")
    site.applied("--limit", NODE)
    daemon = "setpriv --reuid daemon --regid daemon --clear-groups"
    assert site.on(NODE, f"{daemon} {path} && echo ran") == "ran\n"
    assert site.on(NODE, f"{daemon} cat {path} > /dev/null 2>&1 || echo closed") == "closed\n"
    assert site.plan("--limit", NODE) == []
    site.on(NODE, f"chmod 755 {path}")
    assert [f"{path} mode", "755", "711"] in [row[1:] for row in site.plan("--limit", NODE)]
    site.applied("--limit", NODE)
    assert site.plan("--limit", NODE) == []
    assert site.on(NODE, f"stat -c %a {path}") == "711\n"
    site.declare()
    assert [row[1:] for row in site.plan("--limit", NODE)] == [[f"{path} mode", "711", "755"]]


def test_what_does_not_arrive_as_it_was_pinned_is_not_installed(site: Site) -> None:
    """The node does its own sum: here the operator's store was tampered with, its stamp included."""
    path = site.pin("1.0.0", b"good")
    site.applied("--limit", NODE)
    site.on(NODE, by_hand_longer(path))
    store = site.root / "cache" / "artifacts"
    digest = hashlib.sha256(b"good").hexdigest()
    (store / "sha256" / digest).chmod(0o600)
    (store / "sha256" / digest).write_bytes(b"evil")
    (store / "verified" / digest).write_text(_look(store / "sha256" / digest) or "")
    code, said = site.run("apply", "spare", "-y", "--limit", NODE)
    assert code == 1
    assert f"cannot install tool 1.0.0: found sha256 {hashlib.sha256(b'evil').hexdigest()}, not {digest}" in said
    assert site.on(NODE, f"cat {path}; echo; ls -A {Path(path).parent}").split() == ["goodx", ".verified", "tool"]


def test_an_artifact_that_cannot_be_had_changes_nothing(site: Site) -> None:
    site.pin("1.0.0", b"one")
    (site.root / "mirror" / hashlib.sha256(b"one").hexdigest()).unlink()
    code, said = site.run("apply", "spare", "-y")
    assert code == 1
    assert f"  file {site.root}/mirror: the directory has neither" in said
    assert site.on(NODE, "ls /opt") == ""


def test_a_node_without_room_says_so_and_gets_nothing(site: Site) -> None:
    path = site.pin("1.0.0", content("one"))
    site.on(NODE, f"mkdir -p /opt/unterbau; mount -t tmpfs -o size={SIZE_BYTES // 2} tmpfs /opt/unterbau")
    code, said = site.run("apply", "spare", "-y")
    assert code == 1
    assert re.search(r"cannot install tool 1.0.0: 6\d MiB free in /opt/unterbau, it takes 144; make room there", said)
    assert site.on(NODE, "find /opt/unterbau -type f") == ""
    assert site.on(NODES[1], f"test -x {path} && echo there") == "there\n"
    site.on(NODE, "mount -o remount,size=1G /opt/unterbau")
    site.applied("--limit", NODE)
    assert site.plan("--limit", NODE) == []


def test_a_disk_that_fills_up_during_the_push_is_left_as_it_was(site: Site) -> None:
    path = site.pin("1.0.0", content("one"))
    site.on(NODE, "mkdir -p /opt/unterbau; mount -t tmpfs -o size=150m tmpfs /opt/unterbau")
    upload = f"{Path(path).parent}/.upload"
    eat = "head -c 200m /dev/zero > /opt/unterbau/eater 2>/dev/null"
    until_gone = f"while test -e {upload}; do sleep 0.05; done; rm /opt/unterbau/eater"
    eater = site.waiting(NODE, f"{pushing(path)}; {eat}; {until_gone}")
    code, said = site.run("apply", "spare", "-y", "--limit", NODE)
    eater.communicate(timeout=LIMIT_S)
    assert code == 1
    assert f"cannot upload tool 1.0.0 to {NODE}" in said
    assert site.on(NODE, "find /opt/unterbau -type f") == ""


def test_a_run_that_is_killed_during_the_push_leaves_nothing_half_installed(site: Site) -> None:
    old = site.pin("1.0.0", b"#!/bin/sh\necho one\n")
    site.applied("--limit", NODE)
    path = site.pin("2.0.0", content("two"))
    begun = site.waiting(NODE, pushing(path))
    run = site.start("apply", "spare", "-y", "--limit", NODE)
    assert begun.wait(LIMIT_S) == 0
    run.send_signal(signal.SIGKILL)
    run.communicate()
    begun.communicate()
    assert site.on(NODE, f"test -e {path} || echo absent") == "absent\n"
    assert site.on(NODE, old) == "one\n"
    assert [row[1] for row in site.plan("--limit", NODE)] == [path]
    site.applied("--limit", NODE)
    assert site.plan("--limit", NODE) == []
    assert site.on(NODE, f"ls -A {Path(path).parent}").split() == [".verified", "tool"]


def test_the_version_before_stays_and_so_does_one_that_runs(site: Site) -> None:
    sleep = Path("/bin/sleep").read_bytes()
    paths = [site.pin("1.0.0", sleep)]
    site.applied("--limit", NODE)
    site.on(NODE, f"systemd-run --quiet --unit=old-tool {paths[0]} 1000")
    for number in (2, 3, 4):
        paths.append(site.pin(f"{number}.0.0", sleep + b"\0" * number))
        site.applied("--limit", NODE)
    assert there(site, paths) == [True, False, True, True]
    site.on(NODE, "systemctl stop old-tool")
    assert site.plan("--limit", NODE) == []  # old versions alone are no reason for a change
    paths.append(site.pin("5.0.0", sleep + b"\0" * 5))
    assert [paths[0].rpartition("/")[0], "installed", None] in [row[1:] for row in site.plan("--limit", NODE)]
    site.applied("--limit", NODE)
    assert there(site, paths) == [False, False, False, True, True]


def there(site: Site, paths: list[str]) -> list[bool]:
    return [site.on(NODE, f"test -x {path} && echo yes || echo no") == "yes\n" for path in paths]


def test_an_account_with_sudo_installs_it_as_well(site: Site) -> None:
    path = site.pin("1.0.0", content("one"))
    key = Path(f"{site.spare.lab.key}.pub").read_text().strip()
    site.on(
        NODE,
        "test -x /usr/bin/sudo || DEBIAN_FRONTEND=noninteractive apt-get install -qqy sudo >/dev/null 2>&1; "
        "id alice >/dev/null 2>&1 || useradd -m alice; "
        f"install -d -o alice ~alice/.ssh; echo '{key}' > ~alice/.ssh/authorized_keys; "
        "echo 'alice ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice",
    )
    site.log_in_as("alice")
    site.applied("--limit", NODE)
    assert site.plan("--limit", NODE) == []
    assert site.on(NODE, f"stat -c '%U %a' {path}; ls -A {Path(path).parent}").split() == [
        "root",
        "755",
        ".verified",
        "tool",
    ]
    assert site.on(NODE, "find /tmp /var/tmp -user alice -type f") == ""
