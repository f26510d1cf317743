"""The way back to a snapshot, on machines that are folders: real shell, and a systemctl and a k3s that keep a diary."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from unterbau.domain.etcd import token_hash
from unterbau.domain.unknown import UNKNOWN, Unknown
from unterbau.etcd import restore, restore_steps
from unterbau.etcd.abandon import abandon
from unterbau.etcd.restore import Checked, Restore, RestoreError, Token, checked
from unterbau.etcd.restore_steps import Places
from unterbau.secrets.hidden import Hidden

IDENTITY = "0a1b2c3d4e5f"
SECRET, OTHER = "the-token-of-that-time", "the-token-of-today"  # of nobody
FILES = {
    "systemctl": """
        case "$*" in
        *is-active*k3s.service) test -e "$HOME/active";;
        *is-active*) exit 3;;
        *is-enabled*) test -e "$HOME/agent";;
        'cat k3s.service') test -e "$HOME/unit";;
        'stop k3s-agent.service') rm -f "$HOME/restarted";;
        'disable --quiet --now k3s.service') rm -f "$HOME/active" "$HOME/enabled";;
        'enable --quiet k3s.service') touch "$HOME/enabled";;
        'start --no-block k3s.service') "$HOME/bin/k3s" start && touch "$HOME/active";;
        'restart --no-block k3s-agent.service') touch "$HOME/restarted";;
        *) echo "systemctl $*" >&2; exit 64;;
        esac""",
    "systemd-run": """
        while case $1 in --*) true;; *) false;; esac; do
            case $1 in *StandardOutput=append:*) log=${1##*append:};; esac
            shift
        done
        "$@" >> "$log" 2>&1""",
    "k3s": """
        db=$HOME/data/server/db
        case "$1 $2" in
        'server --config')
            grep -q '^server:' "$3" && { echo 'cannot perform cluster-reset while server URL is set'; exit 1; }
            grep -q '^etcd-s3' "$3" && { echo 'cannot use S3 config secret when restoring snapshot'; exit 1; }
            test -e "$db/reset-flag" && { echo 'was previously reset'; exit 1; }
            file=$(sed -n 's/^cluster-reset-restore-path: "\\(.*\\)"$/\\1/p' "$3")
            mkdir -p "$db/etcd"
            grep -qxF "$(sed -n 's/^token: "\\(.*\\)"$/\\1/p' "$3")" "$file" ||
                { mkdir -p "$db/etcd/member/wal"
                echo 'bootstrap data already found and encrypted with different token'; seq 1 9; exit 1; }
            mkdir -p "$db/etcd/member/wal"; cat "$file" > "$db/etcd/data"; touch "$db/reset-flag"
            echo 'Managed etcd cluster membership has been reset, restart without --cluster-reset flag now';;
        'start ')
            rm -f "$db/reset-flag"
            test -e "$db/etcd/data" && exit 0
            from=$(sed -n 's/^server: "https:\\/\\/\\(.*\\):6443"$/\\1/p' "$HOME/config.yaml")
            test -n "$from" || { echo 'founds a new cluster' > "$HOME/founded"; exit 1; }
            test -e "$HOME/../$from/active" || exit 1
            mkdir -p "$db/etcd/member/wal"; cat "$HOME/../$from/data/server/db/etcd/data" > "$db/etcd/data";;
        'kubectl '*) case "$*" in
            *readyz*) test -e "$HOME/active" && echo ok;;
            *'get nodes'*) for node in "$HOME"/../*-?; do
                test -e "$node/active" -o -e "$node/restarted" && now=$(date -u +%FT%TZ) || now=2026-01-01T00:00:00Z
                echo "${node##*/} True $now"; done;;
            esac;;
        esac""",
}


# Every machine's paths are in its own folder: AT stands for it.
AT = Places("AT/data", "AT/config.yaml", "AT/k3s.yaml", "AT/ours", "AT/run", "AT/bin/k3s")


class Killed(BaseException):
    """As by kill -9: nothing is tidied up."""


class Machine:
    """A node that is a folder."""

    def __init__(self, folder: Path, diary: list[str]) -> None:
        self.name, self.folder, self.diary = folder.name, folder, diary
        (folder / "bin").mkdir(parents=True)
        for name, text in FILES.items():
            script = folder / "bin" / name
            script.write_text(f'#!/bin/bash\necho "{name} $*" >> "$HOME/argv"\n{text}\n')
            script.chmod(0o755)
        self.before: Callable[[], None] = lambda: None

    @property
    def places(self) -> Places:
        at = str(self.folder)
        return Places(f"{at}/data", f"{at}/config.yaml", f"{at}/k3s.yaml", f"{at}/ours", f"{at}/run", f"{at}/bin/k3s")

    def run(self, command: str, secret: Hidden | None = None) -> str:
        self.before()
        done = subprocess.run(
            ["sh", "-c", command.replace("AT", str(self.folder))],
            input="" if secret is None else secret.unmask() + "\n",
            capture_output=True, text=True, check=False,
            env={"HOME": str(self.folder), "PATH": f"{self.folder}/bin:/usr/bin:/bin"},
        )  # fmt: skip
        self.diary.append(f"{self.name} {'started' if 'systemctl start' in command else ''}".strip())
        if done.returncode:
            raise RestoreError(f"cannot go on on {self.name}: found {done.stderr}{done.stdout}")
        return done.stdout

    def member(self) -> Mapping[str, Any] | Unknown:
        if not (self.folder / "active").exists():
            return UNKNOWN
        cluster = {"answers": True, "leader_id": "1", "learner": False}
        return {"cluster": cluster, "metrics": {"ready": {"linearizable_read": True}}}

    @property
    def data(self) -> str:
        return (self.folder / "data/server/db/etcd/data").read_text()


class Lab:
    """Three servers and an agent, with data that are not those of the snapshot."""

    def __init__(self, folder: Path) -> None:
        self.diary: list[str] = []
        self.servers = [Machine(folder / f"srv-{number}", self.diary) for number in (1, 2, 3)]
        self.agent = Machine(folder / "wrk-1", self.diary)
        (self.agent.folder / "agent").touch()
        for machine in self.servers:
            etcd = machine.folder / "data/server/db/etcd"
            etcd.mkdir(parents=True)
            (etcd / "data").write_text("B\n")
            (etcd.parent / "snapshots").mkdir()
            (etcd.parent / "snapshots" / f"of-{machine.name}").write_text("kept\n")
            way = "cluster-init: true" if machine is self.servers[0] else 'server: "https://srv-9:6443"'
            text = f'{way}\ntoken: "{OTHER}"\ntls-san:\n  - "token: x"\netcd-s3: true\netcd-s3-config-secret: "x"\n'
            (machine.folder / "config.yaml").write_text(text)
            (machine.folder / "active").touch()
            (machine.folder / "enabled").touch()
            (machine.folder / "unit").touch()
            (etcd / "member/wal").mkdir(parents=True)
        (self.servers[0].folder / "ours").mkdir()
        self.snapshot.write_text(f"A\n{SECRET}\n")
        self.opened: list[str] = []
        self.told: list[str] = []

    @property
    def snapshot(self) -> Path:
        return self.servers[0].folder / "ours" / f"{IDENTITY}.snapshot"

    def restore(self, *tokens: str) -> None:
        found = tuple(Token(token_hash(one) or "", Hidden(one)) for one in tokens or (SECRET,))
        work = Restore(
            Checked(IDENTITY, found), self.servers, [self.agent], "https://srv-1:6443",
            opened=lambda token: self.opened.append(token.value.unmask()), places=AT, start_within_s=2,
            name="srv-1:it's", tell=self.told.append,
        )  # fmt: skip
        work.carry_out()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(restore, "LOOK_AGAIN_S", 0.05)
    return Lab(tmp_path)


def is_restored(lab: Lab) -> None:
    assert [machine.data for machine in lab.servers] == [f"A\n{SECRET}\n"] * 3  # A is there, B is not
    for machine in lab.servers:
        assert (machine.folder / "active").exists()
        assert (machine.folder / "enabled").exists()
        assert (machine.folder / f"data/server/db/snapshots/of-{machine.name}").read_text() == "kept\n"
        names = sorted(one.name for one in (machine.folder / "data").iterdir())
        assert [name for name in names if not name.startswith("server-kept-")] == ["server"]
        assert list((machine.folder / "ours").iterdir()) == []
        config = (machine.folder / "config.yaml").read_text()
        assert f'token: "{SECRET}"\n' in config
        assert '  - "token: x"\n' in config
        assert ('server: "https://srv-1:6443"\n' in config) is (machine is not lab.servers[0])
        assert ("cluster-init" in config) is (machine is lab.servers[0])
        assert SECRET not in (machine.folder / "argv").read_text()
        assert not (machine.folder / "run").exists()
        assert not (machine.folder / "founded").exists()
    assert (lab.agent.folder / "restarted").exists()
    assert set(lab.opened) == {SECRET}


def test_what_was_written_since_is_gone_and_all_servers_are_there(lab: Lab) -> None:
    lab.restore()
    is_restored(lab)
    started = [line for line in lab.diary if line.endswith("started")]
    assert started == ["srv-1 started", "srv-2 started", "srv-3 started"]
    deleted = [line for line in (lab.servers[0].folder / "argv").read_text().splitlines() if "delete secret" in line]
    assert deleted[0].endswith(" ".join(f"{node}.node-password.k3s" for node in ("srv-1", "srv-2", "srv-3", "wrk-1")))


def test_killed_after_any_step_the_next_call_ends_it(tmp_path: Path, lab: Lab) -> None:
    lab.restore()
    steps = len(lab.diary)
    assert steps > 25
    for number in range(1, steps, 3):
        again = Lab(tmp_path / f"killed-{number}")
        left = iter(range(number))

        def die(left: Any = left) -> None:
            if next(left, None) is None:
                raise Killed

        for machine in (*again.servers, again.agent):
            machine.before = die
        with pytest.raises(Killed):
            again.restore()
        for machine in (*again.servers, again.agent):
            machine.before = lambda: None
        if not again.snapshot.exists():
            continue  # nothing but its own traces was left to do
        again.restore()
        is_restored(again)


def test_a_token_that_does_not_open_it_is_followed_by_the_next(lab: Lab) -> None:
    lab.restore(OTHER, SECRET)
    is_restored(lab)


def test_no_server_starts_if_the_snapshot_does_not_open(lab: Lab) -> None:
    with pytest.raises(RestoreError, match="different token"):
        lab.restore(OTHER)
    assert not any(line.endswith("started") for line in lab.diary)
    for machine in lab.servers:  # nothing is lost
        before = machine.folder / f"data/server-before-{IDENTITY}/db/etcd/data"
        assert before.read_text() == "B\n"


def test_another_restore_that_was_begun_comes_first(lab: Lab) -> None:
    second = lab.servers[1]
    (second.folder / "ours").mkdir()
    (second.folder / "ours/under-way").write_text("another")
    with pytest.raises(RestoreError, match="on srv-2 found another restore, another, that"):
        lab.restore()
    assert all((machine.folder / "active").exists() for machine in lab.servers)


def test_a_server_that_does_not_vote_holds_the_others_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.servers[1], "member", lambda: UNKNOWN)
    with pytest.raises(RestoreError, match="cannot go on from srv-2: after 2 s its etcd has no vote"):
        lab.restore()
    assert "srv-3 started" not in lab.diary


def test_a_node_that_is_ready_in_the_snapshot_only_is_waited_for(lab: Lab) -> None:
    agent = lab.agent.folder / "bin/systemctl"
    agent.write_text(agent.read_text().replace('touch "$HOME/restarted"', "true"))
    with pytest.raises(RestoreError, match="wrk-1 is not Ready by its own word"):
        lab.restore()


def test_nothing_is_touched_where_a_server_was_never_set_up(lab: Lab) -> None:
    (lab.servers[2].folder / "unit").unlink()
    with pytest.raises(RestoreError, match=r"found no unit k3s.service on srv-3; apply first"):
        lab.restore()
    assert all((machine.folder / "active").exists() for machine in lab.servers)
    assert not (lab.servers[0].folder / "ours/under-way").exists()


def test_what_etcd_ran_on_since_is_never_deleted(lab: Lab) -> None:
    with pytest.raises(RestoreError, match="different token"):
        lab.restore(OTHER)
    etcd = lab.servers[1].folder / "data/server/db/etcd"  # somebody started K3s by hand, in spite of the marker
    (etcd / "member/wal").mkdir(parents=True)
    (etcd / "data").write_text("C\n")
    lab.restore()
    kept = lab.servers[1].folder / "data/server-kept-1"
    assert (kept / "db/etcd/data").read_text() == "C\n"
    assert any(line.startswith("srv-2: what etcd ran on is kept as") for line in lab.told)
    assert not (lab.servers[0].folder / "data/server-kept-1").exists()  # a reset that failed is nobody's data


def is_as_before(lab: Lab, servers: list[Machine]) -> None:
    for machine in servers:
        assert machine.data == "B\n"
        assert (machine.folder / "active").exists()
        assert (machine.folder / "enabled").exists()
        assert f'token: "{OTHER}"' in (machine.folder / "config.yaml").read_text()
        assert (machine.folder / f"data/server/db/snapshots/of-{machine.name}").read_text() == "kept\n"
        assert not (machine.folder / "ours/under-way").exists()


def test_a_snapshot_that_never_opens_is_taken_back(lab: Lab) -> None:
    with pytest.raises(RestoreError, match="different token"):
        lab.restore(OTHER)
    said = abandon(lab.servers, [lab.agent], lab.told.append, AT)
    assert said == "srv-1, srv-2, srv-3 run on what they had before the restore"
    is_as_before(lab, lab.servers)
    with pytest.raises(RestoreError, match="found none that was begun"):
        abandon(lab.servers, [lab.agent], lab.told.append, AT)


def test_it_is_taken_back_without_the_server_that_is_gone(lab: Lab) -> None:
    with pytest.raises(RestoreError, match="different token"):
        lab.restore(OTHER)
    abandon(lab.servers[1:], [lab.agent], lab.told.append, AT)
    is_as_before(lab, lab.servers[1:])


def test_killed_after_any_step_it_is_taken_back_or_over(tmp_path: Path, lab: Lab) -> None:
    lab.restore()
    steps = len(lab.diary)
    outcomes = set()
    for number in range(4, steps, 6):
        again = Lab(tmp_path / f"killed-{number}")
        kill_after(again, number, again.restore)
        if not (again.servers[0].folder / "ours/under-way").exists():
            continue
        kill_after(again, 9, lambda again=again: abandon(again.servers, [], again.told.append, AT))  # type: ignore[misc]
        try:
            said = abandon(again.servers, [], again.told.append, AT)
        except RestoreError as error:
            assert "found none that was begun" in str(error)
            said = "ended"  # its traces were gone before it was killed; going back takes more steps than that
        outcomes.add("ended" in said)
        if "ended" in said:
            assert {machine.data for machine in again.servers} == {f"A\n{SECRET}\n"}
        else:
            is_as_before(again, again.servers)
    assert False in outcomes


def kill_after(lab: Lab, steps: int, work: Callable[[], object]) -> None:
    left = iter(range(steps))

    def die() -> None:
        if next(left, None) is None:
            raise Killed

    for machine in (*lab.servers, lab.agent):
        machine.before = die
    with contextlib.suppress(Killed):
        work()
    for machine in (*lab.servers, lab.agent):
        machine.before = lambda: None


def file(**changed: Any) -> dict[str, Any]:
    return {"exists": True, "size_bytes": 20512, "intact": True, "token_hashes": ["a" * 12], **changed}


KEPT = (Token("b" * 12, Hidden("of today")), Token("a" * 12, Hidden("of that time")))


def test_the_token_is_found_by_its_hash() -> None:
    found = checked(file(), "one", IDENTITY, KEPT, "")
    assert found == Checked(IDENTITY, (KEPT[1],))
    both = checked(file(token_hashes=["a" * 12, "b" * 12]), "one", IDENTITY, KEPT, "")
    assert both.tokens == KEPT  # the newer first: the other may be in a page that is free by now
    assert checked(file(token_hashes=["b" * 12]), "one", IDENTITY, KEPT, "a" * 12).tokens == (KEPT[1],)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (UNKNOWN, "could not be read"),
        (file(exists=False), "could not be read"),
        (file(intact=False), "it is damaged"),
        (file(token_hashes=[]), "of an unknown hash"),
        (file(token_hashes=["c" * 12]), f"opens with the server token {'c' * 12}, and of 2 in the store"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_anything_stops(found: Any, said: str) -> None:
    with pytest.raises(RestoreError, match=said):
        checked(found, "one", IDENTITY, KEPT, "")


def test_a_line_that_says_the_same_already_leaves_the_file_alone(lab: Lab) -> None:
    machine = lab.servers[1]
    command = restore_steps.configured(machine.places, "https://srv-9:6443")
    stamp = (machine.folder / "config.yaml").stat().st_ino
    machine.run(command, restore.line_of(Hidden(OTHER)))
    assert (machine.folder / "config.yaml").stat().st_ino == stamp
