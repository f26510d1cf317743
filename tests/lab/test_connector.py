"""Host keys: a machine that shows another key than the pinned one, or one that nobody pinned, is not spoken to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.commands import ADDRESS, ROOT, unterbau
from unterbau.lab.layout import Lab

pytestmark = pytest.mark.lab

PINNED = "/var/lib/unterbau/lab/ssh/known_hosts"


@pytest.fixture
def known_hosts(tmp_path: Path) -> Path:
    """A checkout of its own in tmp_path whose inventory trusts this file."""
    for folder in ("group_data", "deploys", "operations", "facts"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "inventories").mkdir()
    inventory = (ROOT / "inventories" / "lab.py").read_text()
    assert PINNED in inventory
    (tmp_path / "inventories" / "lab.py").write_text(inventory.replace(PINNED, str(tmp_path / "known_hosts")))
    return tmp_path / "known_hosts"


def lines_of(lab: Lab) -> list[str]:
    return lab.known_hosts.read_text().splitlines()


def swapped(lab: Lab) -> str:
    """The right keys but for srv-1, which is pinned to the key of srv-2."""
    key_of = {line.split(" ", 1)[0].split(",")[1]: line.split(" ", 1)[1] for line in lines_of(lab)}
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
