"""The guard's proof and its scripts; what they do on a machine is shown in tests/lab/test_access.py."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operations import firewall, guard, ssh_server

GUARDED = [
    firewall._guarded("table inet unterbau\n"),
    ssh_server._guarded({"settings": [], "enabled": False}, {"Port": "22"}),
]


class Host:
    """A host that notes what is logged."""

    name = "srv-1"

    def __init__(self, connector: Any) -> None:
        self.connector = connector
        self.said: list[str] = []

    def log_styled(self, sentence: str, **_: Any) -> None:
        self.said.append(sentence)


def fails() -> None:
    raise ConnectionError("no answer within 10 s")


def test_a_new_connection_is_proof() -> None:
    host = Host(SimpleNamespace(prove_new_connection=lambda: None))
    assert guard.prove_new_connection(None, host, "firewall") is True
    assert host.said == []


@pytest.mark.parametrize(
    ("connector", "words"),
    [(SimpleNamespace(prove_new_connection=fails), "no answer within 10 s"), (SimpleNamespace(), "@node/<name>")],
)
def test_without_one_the_host_fails_with_a_sentence(connector: Any, words: str) -> None:
    host = Host(connector)
    assert guard.prove_new_connection(None, host, "firewall") is False
    assert len(host.said) == 1
    assert words in host.said[0]
    assert "puts the old one back by itself 20 s after the change" in host.said[0]


def test_an_error_of_another_kind_is_not_taken_for_a_missing_connector() -> None:
    def broken() -> None:
        raise AttributeError("a bug")

    with pytest.raises(AttributeError):
        guard.prove_new_connection(None, Host(SimpleNamespace(prove_new_connection=broken)), "firewall")


@pytest.mark.parametrize("guarded", GUARDED, ids=lambda guarded: guarded.what)
def test_the_scripts_are_shell(guarded: guard.Guarded) -> None:
    for script in (guard.try_script(guarded), guard.revert_script(guarded), guard.keep_script(guarded.what)):
        checked = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
    assert guard.revert_script(guarded) in guard.try_script(guarded)


@pytest.mark.parametrize("guarded", GUARDED, ids=lambda guarded: guarded.what)
def test_it_is_armed_before_anything_is_put_in_place(guarded: guard.Guarded) -> None:
    script = guard.try_script(guarded)
    order = [script.index(part) for part in (guarded.check, 'mv "$saved.part" "$saved"', "systemd-run", "install -D")]
    assert order == sorted(order)
    assert script.rindex(guarded.activate) > order[-1]


def test_a_change_that_fails_while_nobody_listens_is_put_back_at_once(tmp_path: Path) -> None:
    """The controller is gone: whoever writes to standard error gets SIGPIPE."""
    changed, guard_dir, programs = tmp_path / "file", tmp_path / "guard" / "test", tmp_path / "bin"
    (guard_dir / "new").mkdir(parents=True)
    (guard_dir / "new" / "0").write_text("new\n")
    changed.write_text("old\n")
    programs.mkdir()
    for name in ("systemctl", "systemd-run", "sync"):
        (programs / name).symlink_to("/bin/true")
    guarded = guard.Guarded(
        what="test",
        files={str(changed): ("new\n", "644")},
        check=":",
        activate=f"cat {changed} >{tmp_path}/tried; echo cannot >&2; false",
        restore=f"touch {tmp_path}/restored",
    )
    script = guard.try_script(guarded)
    for path, own in ((guard.GUARD_DIR, guard_dir.parent), ("/etc/systemd/system", tmp_path / "units")):
        script = script.replace(path, str(own))
    (tmp_path / "units").mkdir()
    reading, writing = os.pipe()
    os.close(reading)
    path = f"{programs}:{os.environ['PATH']}"
    # Python ignores SIGPIPE; a login does not
    ran = subprocess.run(
        ["sh", "-c", script], env={"PATH": path}, stdout=writing, stderr=writing, check=False, restore_signals=True
    )
    os.close(writing)
    assert (tmp_path / "tried").read_text() == "new\n"
    assert ran.returncode != 0
    assert changed.read_text() == "old\n"
    assert (tmp_path / "restored").exists()


@pytest.mark.parametrize(
    "line", ["Match User alice", "  match Address 198.51.100.0/24", '"Match" User alice', "match=user alice"]
)
def test_a_match_block_of_another_file_fails_the_change_by_name(line: str, tmp_path: Path) -> None:
    """It may have come between plan and apply."""
    (tmp_path / "sshd_config.d").mkdir()
    (tmp_path / "sshd_config").write_text("# Match User alice\nPort 22\n")
    (tmp_path / "sshd_config.d" / "00-unterbau.conf").write_text("Match Group unterbau-operators\n")
    script = ssh_server._NO_MATCH.replace("/etc/ssh", str(tmp_path))

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-euc", script], text=True, capture_output=True, check=False)

    assert (run().returncode, run().stderr) == (0, "")
    (tmp_path / "sshd_config.d" / "50-x.conf").write_text(f"{line}\n")
    assert run().returncode == 1
    assert f"found {tmp_path}/sshd_config.d/50-x.conf:{line}" in run().stderr
