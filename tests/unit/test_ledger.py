"""The trail: what breaks its chain is found, what a killed write left out is known byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unterbau.audit import actor, ledger
from unterbau.audit.ledger import LedgerError, Mark

ENTRIES = [{"action": "set", "name": name, "version": 1, "at": "2026-11-22T00:00:00Z", "who": "a"} for name in "xyz"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    ledger.append(path, ledger.chained(Mark(), ENTRIES))
    return path


def trail(path: Path) -> ledger.Trail:
    found = ledger.read(path)
    assert found is not None
    return found


def test_each_line_has_the_digest_of_the_one_before(path: Path) -> None:
    lines = path.read_bytes().splitlines()
    before = [json.loads(line)["before"] for line in lines]
    assert before == [ledger.BEGINNING, *map(ledger.digest_of, lines[:-1])]
    assert [entry["name"] for entry in trail(path).entries] == ["x", "y", "z"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_later_run_goes_on_where_the_last_one_ended(path: Path) -> None:
    ledger.append(path, ledger.chained(trail(path).end, ENTRIES[:1]))
    assert len(trail(path).entries) == 4


@pytest.mark.parametrize(
    ("was", "becomes"),
    [(b'"x"', b'"X"'), (b'"y"', b'"Y"'), (b'"at"', b'"at" '), (b"{", b"["), (b"\n", b"\n\n"), (b'"name"', b'"n\xff"')],
)
def test_a_changed_line_breaks_the_chain(path: Path, was: bytes, becomes: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(was, becomes, 1))
    with pytest.raises(LedgerError, match=r"line [123] is .*; it was changed"):
        ledger.read(path)


@pytest.mark.parametrize("removed", [0, 1])
def test_a_removed_line_breaks_the_chain(path: Path, removed: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[removed]
    path.write_bytes(b"".join(lines))
    with pytest.raises(LedgerError, match=f"line {removed + 1} is a line that does not follow"):
        ledger.read(path)


def test_whatever_was_written_of_the_last_lines_the_rest_is_known(path: Path) -> None:
    whole = path.read_bytes()
    since = trail(path).marks[1]
    text = whole[since.size :]
    for size in range(since.size, len(whole) + 1):
        path.write_bytes(whole[:size])
        assert whole[:size] + ledger.unwritten(ledger.read(path), since, text) == whole


def test_a_trail_that_is_another_one_is_told(path: Path) -> None:
    whole, marks = path.read_bytes(), trail(path).marks
    since, text = marks[2], whole[marks[2].size :]
    for content, said in (
        (whole[: marks[1].size], "found 1 lines that do not begin with the 2 there should be"),
        (whole[: marks[2].size] + b'{"half', "found another line 3"),
        (
            whole + ledger.chained(marks[3], ENTRIES[:1]),
            "found 1 more than the lines there should be, the last: set x 1, 2026",
        ),
    ):
        path.write_bytes(content)
        with pytest.raises(LedgerError, match=said):
            ledger.unwritten(ledger.read(path), since, text)
    with pytest.raises(LedgerError, match="found no ledger, and there should be one of 2 lines"):
        ledger.unwritten(None, since, text)
    assert ledger.unwritten(None, Mark(), whole) == whole


def test_the_end_after_lines_is_where_reading_them_ends(path: Path) -> None:
    assert ledger.end_of(Mark(), path.read_bytes()) == trail(path).end
    assert ledger.end_of(trail(path).end, b"") == trail(path).end


def test_a_ledger_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=f"cannot write the ledger {tmp_path}: Is a directory"):
        ledger.append(tmp_path, b"{}\n")


def test_who_is_behind_sudo_is_said_and_cannot_add_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    for name in ("SUDO_USER", "GITLAB_USER_LOGIN", "GITHUB_ACTOR"):
        monkeypatch.delenv(name, raising=False)
    assert actor.who() == "root@desk"
    monkeypatch.setenv("SUDO_USER", 'alice"\n{')
    assert actor.who() == "root@desk for alice"


def test_a_commit_outside_of_a_checkout_is_none(tmp_path: Path) -> None:
    assert actor.commit(tmp_path) is None
    assert (actor.commit(Path(__file__).parent) or "").removesuffix("-dirty").isalnum()
