"""The bootstrap store: what goes in comes out, and whatever is wrong is a sentence that leaves the file untouched."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from unterbau.audit import ledger
from unterbau.secrets import disk
from unterbau.secrets.identity import new_identity
from unterbau.secrets.payload import Contents, PayloadError, from_json, to_json
from unterbau.secrets.store import New, Store, StoreError

# Real ones, of this run alone: what somebody gives by mistake.
AGE_KEY = str(pyrage.x25519.Identity.generate())
CUT_OFF = AGE_KEY[:-10] + "\n"
SSH_KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
VALUE = "hunter2-canary-value"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    new_identity(tmp_path / "identity.txt")
    store = Store.create(tmp_path / "store.age", tmp_path / "identity.txt")
    store.commit([New("db/password", VALUE, 0, NOW, "generate")], "alice@desk")
    return store


def said(store: Store, match: str, content: bytes | None = None) -> None:
    """Reading and writing fail with this sentence, no value in it, and the file stays as it is."""
    if content is not None:
        store.path.write_bytes(content)
    before = store.path.read_bytes() if store.path.is_file() else None
    for action in (store.read, store.verify, lambda: store.commit([New("x", "y", 0, NOW)]), store.accept):
        with pytest.raises(StoreError, match=match) as caught:
            action()
        assert VALUE not in str(caught.value)
        assert "; " in str(caught.value)  # what to do next
    assert (store.path.read_bytes() if store.path.is_file() else None) == before


def test_what_is_stored_is_read_by_any_process_and_by_the_age_format(store: Store, tmp_path: Path) -> None:
    other = Store(str(store.path), tmp_path / "identity.txt")
    version = other.version("db/password")
    assert (version.number, version.value, version.made_at, version.made_by) == (1, VALUE, NOW, "alice@desk")
    key = pyrage.x25519.Identity.from_str((tmp_path / "identity.txt").read_text().splitlines()[2])
    document = json.loads(pyrage.decrypt(store.path.read_bytes(), [key]))
    assert document["schema"] == "unterbau.secrets/1"
    assert document["secrets"] == {
        "db/password": [{"number": 1, "value": VALUE, "made_at": "2026-11-22T02:00:00Z", "made_by": "alice@desk"}]
    }
    assert store.path.read_bytes().startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")


def test_files_are_for_their_owner_only_and_none_but_the_identity_has_a_key(store: Store, tmp_path: Path) -> None:
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "identity.txt": 0o600, "store.age": 0o600, "store.age.ledger": 0o600, "store.age.lock": 0o600
    }  # fmt: skip
    found = {path.name for path in tmp_path.iterdir() if VALUE.encode() in path.read_bytes()}
    assert found == set()
    assert VALUE not in repr(store.read())


def test_the_trail_says_who_what_and_when_and_never_a_value(store: Store) -> None:
    store.record("reveal", "db/password", 1)
    trail = ledger.read(store.ledger)
    assert trail is not None
    assert [(entry["action"], entry["name"], entry["version"]) for entry in trail.entries] == [
        ("create", "store.age", 0), ("generate", "db/password", 1), ("reveal", "db/password", 1)
    ]  # fmt: skip
    assert trail.entries[1]["who"] == "alice@desk"
    assert set(trail.entries[1]) == {"at", "who", "action", "name", "version", "commit", "before"}


def test_all_versions_stay_and_a_commit_expects_the_one_before(store: Store) -> None:
    store.commit([New("db/password", "second", 1, NOW)])
    assert [version.value for version in store.read().secrets["db/password"]] == [VALUE, "second"]
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match=r"version 2 of db/password: found version 2, made 2026-11-22T02:00:00Z by"):
        store.commit([New("new", "value", 0, NOW), New("db/password", "third", 1, NOW)])
    with pytest.raises(StoreError, match="found none at all; was an older store put back"):
        store.commit([New("other", "value", 3, NOW)])
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("name", ["", "/", "a/", "/a", "A", "a b", "a//b", "x; reboot", "a\n", "ä", "a.b", "../a"])
def test_a_name_that_is_none_is_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="a name is a-z, 0-9 and '-'"):
        store.commit([New(name, "value", 0, NOW)])


@pytest.mark.parametrize("value", ["", "a\0b", "typed in Latin-1: \udce4"])
def test_a_value_that_is_none_is_refused(store: Store, value: str) -> None:
    with pytest.raises(StoreError, match="found an empty value, or one with a NUL or half a character"):
        store.commit([New("name", value, 0, NOW)])


def test_an_unknown_name_says_what_is_near_and_how_to_set_it(store: Store) -> None:
    expected = r"cannot find the secret db/pasword in .*did you mean db/password\?\); set it with `unterbau secrets set"
    with pytest.raises(StoreError, match=expected):
        store.version("db/pasword")


def test_a_store_that_is_not_there(store: Store) -> None:
    store.path.unlink()
    said(store, "cannot read the store .*: there is no such file; make it")


def test_an_empty_file(store: Store) -> None:
    said(store, "found an empty file; it was not touched; put back the last good copy", b"")


def test_a_directory_in_its_place(store: Store) -> None:
    store.path.unlink()
    store.path.mkdir()
    said(store, "cannot read the store .*: Is a directory; see its owner and mode")


def test_a_truncated_file_at_every_length(store: Store) -> None:
    whole = store.path.read_bytes()
    for size in range(1, len(whole) - 1):  # a file without its last newline is whole
        with pytest.raises(StoreError, match="damaged or truncated"):
            store.path.write_bytes(whole[:size])
            store.read()
    said(store, "damaged or truncated", whole[:200])


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_damaged_byte_is_a_sentence_or_no_damage(damaged: Store, place: int, byte: int) -> None:
    whole = damaged.path.with_name("whole").read_bytes()
    place %= len(whole)
    damaged.path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        assert damaged.read().secrets["db/password"][0].value == VALUE
    except StoreError as error:
        assert VALUE not in str(error)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("damaged")
    new_identity(folder / "identity.txt")
    store = Store.create(folder / "store.age", folder / "identity.txt")
    store.commit([New("db/password", VALUE, 0, NOW)])
    (folder / "whole").write_bytes(store.path.read_bytes())
    return store


def test_a_store_for_others(store: Store, tmp_path: Path) -> None:
    mine = new_identity(tmp_path / "other.txt")
    said(
        Store(store.path, tmp_path / "other.txt"),
        f"not encrypted for the identity .*other.txt \\({mine}\\); use another",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"hello", "no JSON in it"),
        (b"\xff", "no JSON in it"),
        (b"[]", "JSON without a schema"),
        (b'{"schema": "unterbau.secrets/2"}', "the schema 'unterbau.secrets/2' in it, not 'unterbau.secrets/1'"),
        (b'{"schema": "unterbau.secrets/1"}', "lacks something"),
    ],
)
def test_an_age_file_that_is_not_ours(store: Store, text: bytes, found: str) -> None:
    recipient = pyrage.x25519.Recipient.from_str(store.read().recipients[0])
    said(store, f"found .*{found}.*; it was not touched", pyrage.encrypt(text, [recipient]))


@pytest.mark.parametrize(
    "change",
    [
        lambda doc: doc["secrets"].update({"BAD NAME": []}),
        lambda doc: doc["secrets"].update({"none": []}),
        lambda doc: doc["secrets"]["db/password"][0].update(number=2),
        lambda doc: doc["secrets"]["db/password"][0].update(number=True),
        lambda doc: doc["secrets"]["db/password"][0].update(value=7),
        lambda doc: doc["secrets"]["db/password"][0].update(value="\ud800"),
        lambda doc: doc["secrets"]["db/password"][0].update(made_at="yesterday"),
        lambda doc: doc["secrets"]["db/password"].append(doc["secrets"]["db/password"][0]),
        lambda doc: doc.update(recipients="age1"),
        lambda doc: doc.pop("ledger"),
        lambda doc: doc["ledger"].update(size="0"),
    ],
)
def test_contents_of_another_form(store: Store, change: Any) -> None:
    document = json.loads(to_json(store.read()))
    change(document)
    with pytest.raises(PayloadError, match="lacks something, or has it in another form") as caught:
        from_json(json.dumps(document).encode())
    assert caught.value.__cause__ is None


@given(st.dictionaries(st.from_regex(r"[a-z0-9-]+(/[a-z0-9-]+)*", fullmatch=True), st.text(min_size=1), max_size=3))
def test_any_value_survives(values: dict[str, str]) -> None:
    contents = Contents(("age1x",))
    for name, value in values.items():
        if "\ud800" <= max(value) <= "\udfff":
            continue
        version = from_json(to_json(Contents((), {name: (version_of(value),)}))).secrets[name][0]
        assert version == version_of(value)
    assert from_json(to_json(contents)) == contents


def version_of(value: str) -> Any:
    from unterbau.secrets.payload import Version  # noqa: PLC0415

    return Version(1, value, NOW, "a")


def test_no_identity(store: Store) -> None:
    store.identity.unlink()
    fresh = Store(store.path, store.identity.with_name("gone"))
    said(fresh, "cannot read the identity .*: there is no such file; put the one you were given there")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_an_identity_that_others_can_read(store: Store, mode: int, tmp_path: Path) -> None:
    other = tmp_path / "copy.txt"
    other.write_text(store.identity.read_text())
    other.chmod(mode)
    said(Store(store.path, other), rf"found mode {mode:o}, others .*; run `chmod 600 {other}`")


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment\n", CUT_OFF, "age-encryption.org/v1\n", "\0"],
    ids=["empty", "comment", "cut off", "not one", "binary"],
)
def test_an_identity_without_a_key(store: Store, text: str, tmp_path: Path) -> None:
    other = tmp_path / "bad.txt"
    other.touch(0o600)
    other.write_text(text)
    said(Store(store.path, other), "found no unprotected age or SSH key in it")


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity.txt"
    recipient = new_identity(path)
    text = path.read_text()
    assert f"# public key: {recipient}\n" in text
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert new_identity(path) == recipient
    assert path.read_text() == text
    assert [one.name for one in path.parent.iterdir()] == ["identity.txt"]


def test_a_store_is_made_once(store: Store, tmp_path: Path) -> None:
    before = store.path.read_bytes()
    again = Store.create(store.path, store.identity, store.read().recipients)
    assert again.version("db/password").value == VALUE
    assert store.path.read_bytes() == before
    other = str(pyrage.x25519.Identity.generate().to_public())
    with pytest.raises(StoreError, match=f"it is there, without the recipient {other}; add it"):
        Store.create(store.path, store.identity, [other])
    store.path.write_bytes(b"")
    with pytest.raises(StoreError, match="found an empty file"):
        Store.create(store.path, store.identity)


def test_a_lost_store_is_missed_not_begun_anew(store: Store) -> None:
    """Else the next run would give live machines new keys in the place of those that their data is sealed with."""
    store.path.unlink()
    trail = store.ledger.read_bytes()
    found = r"found the trail of one that was here \(generate db/password 1, .*\); put it back .*move .*ledger away"
    with pytest.raises(StoreError, match=found):
        Store.create(store.path, store.identity)
    assert not store.path.exists()
    assert store.ledger.read_bytes() == trail
    store.ledger.rename(store.ledger.with_name("old"))
    assert Store.create(store.path, store.identity).read().secrets == {}


def test_a_store_behind_a_link_stays_behind_it(store: Store, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.age"
    link.parent.mkdir()
    link.symlink_to(store.path)
    Store(link, store.identity).commit([New("x", "through the link", 0, NOW)])
    assert link.is_symlink()
    assert store.version("x").value == "through the link"
    assert [path.name for path in link.parent.iterdir()] == ["link.age"]
    dangling = tmp_path / "dangling.age"
    dangling.symlink_to(tmp_path / "nowhere.age")
    said(Store(dangling, store.identity), "nowhere.age: there is no such file")


def test_others_with_a_key_can_open_it(store: Store, tmp_path: Path) -> None:
    other = new_identity(tmp_path / "other.txt")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ssh"], check=True)
    assert store.add_recipient(f" {other.upper()}\n")
    assert not store.add_recipient(other)
    assert store.add_recipient((tmp_path / "ssh.pub").read_text())
    assert not store.add_recipient((tmp_path / "ssh.pub").read_text().rsplit(" ", 1)[0])
    for identity in ("other.txt", "ssh"):
        assert Store(store.path, tmp_path / identity).version("db/password").value == VALUE
    store.remove_recipient(other)
    with pytest.raises(StoreError, match="not encrypted for the identity"):
        Store(store.path, tmp_path / "other.txt").read()
    Store(store.path, tmp_path / "ssh").commit([New("by-ssh", "value", 0, NOW)])
    assert store.version("by-ssh").value == "value"


@pytest.mark.parametrize(
    ("key", "shown"),
    [("age1nonsense", "'age1nonsense'"), ("", "''"), ("ssh-ed25519 AAAA", "'ssh-ed25519 AAAA'"),
     (AGE_KEY, "a private key"), (SSH_KEY, "a private key"), ("x" * 500, "'x{20}…'")],
    ids=["nonsense", "nothing", "cut off", "age private", "ssh private", "long"],
)  # fmt: skip
def test_a_recipient_must_be_a_public_key(store: Store, key: str, shown: str) -> None:
    before = store.path.read_bytes()
    for change in (store.add_recipient, store.remove_recipient):
        with pytest.raises(StoreError, match=f"cannot use {shown} as a recipient: found no age public key"):
            change(key)
    assert store.path.read_bytes() == before


def test_nobody_locks_himself_or_everybody_out(store: Store, tmp_path: Path) -> None:
    mine = store.read().recipients[0]
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match="it is the last one, nobody could read the store any more; add another"):
        store.remove_recipient(mine)
    other = str(pyrage.x25519.Identity.generate().to_public())
    with pytest.raises(StoreError, match="the store has none of this name; it has age1"):
        store.remove_recipient(other)
    assert store.path.read_bytes() == before
    store.add_recipient(new_identity(tmp_path / "other.txt"))
    with pytest.raises(StoreError, match="it is your own identity's, you would lock yourself out; let another"):
        store.remove_recipient(mine)
    Store(store.path, tmp_path / "other.txt").remove_recipient(mine.upper())


def test_an_ssh_identity_cannot_lock_itself_out_either(store: Store, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ssh"], check=True)
    public = (tmp_path / "ssh.pub").read_text()
    store.add_recipient(public)
    with pytest.raises(StoreError, match=r"you could not read it any more with .*ssh; keep its public key"):
        Store(store.path, tmp_path / "ssh").remove_recipient(public)


def full(*_arguments: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_store_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in store.path.parent.iterdir() if path.suffix != ".lock"}
    monkeypatch.setattr(disk.os, "fsync", full)
    with pytest.raises(
        StoreError, match=r"cannot write the store .*: No space left on device; it is as it was; make room"
    ):
        store.commit([New("x", "y", 0, NOW)])
    assert {path: path.read_bytes() for path in store.path.parent.iterdir() if path.suffix != ".lock"} == before


def test_a_disk_that_is_full_for_the_trail_only_is_told_and_made_good(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "append", full_ledger)
        with pytest.raises(
            StoreError, match="changed the store, but cannot complete its trail: no room; make room, then"
        ):
            store.commit([New("x", "y", 0, NOW)])
    assert store.verify().completed == 1
    assert store.verify().completed == 0
    assert store.version("x").value == "y"


def full_ledger(path: Path, text: bytes) -> None:
    """Half of it fits."""
    with path.open("ab") as file:
        file.write(text[: len(text) // 2])
    raise ledger.LedgerError("no room")


def test_the_next_change_completes_the_trail_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "append", full_ledger)
        with pytest.raises(StoreError):
            store.commit([New("x", "y", 0, NOW)])
    store.commit([New("z", "y", 0, NOW)])
    trail = ledger.read(store.ledger)
    assert trail is not None
    assert [entry["name"] for entry in trail.entries] == ["store.age", "db/password", "x", "z"]


def test_a_trail_that_was_changed_stops_changes_until_somebody_accepts_it(store: Store) -> None:
    lines = store.ledger.read_bytes().splitlines(keepends=True)
    for content, found in (
        (lines[0], None),  # the last line removed: it is the journal, and comes back
        (b"", "found 0 lines that do not begin with the 1 there should be"),
        (lines[0].replace(b"create", b"nothing") + lines[1], "line 2 is a line that does not follow"),
        (b"".join(lines) + b"{half", "found 0 more than the lines there should be and half a one"),
    ):
        store.ledger.write_bytes(content)
        if found is None:
            assert store.verify().completed == 1
            continue
        with pytest.raises(StoreError, match=f"{found}.*put back what belongs together, or go on .*verify --accept"):
            store.commit([New("x", "y", 0, NOW)])
        with pytest.raises(StoreError, match=found):
            store.verify()
    assert "found" in (store.accept() or "")
    assert store.accept() is None
    trail = ledger.read(store.ledger)
    assert trail is not None
    assert [entry["action"] for entry in trail.entries] == ["accept"]
    assert len(list(store.path.parent.glob("*.broken-*"))) == 1
    store.commit([New("x", "y", 0, NOW)])
    assert store.verify().lines == 2


def test_an_older_store_that_was_put_back_is_found(store: Store) -> None:
    old = store.path.read_bytes()
    store.commit([New("lost", "y", 0, NOW)])
    store.path.write_bytes(old)
    with pytest.raises(StoreError, match="found 1 more than the lines there should be, the last: set lost 1"):
        store.commit([New("x", "y", 0, NOW)])
    assert "lost" in (store.accept() or "")
    store.commit([New("x", "y", 0, NOW)])
    assert store.verify().lines == 5


def test_it_is_decrypted_once_until_the_file_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    count = []
    decrypt = pyrage.decrypt
    monkeypatch.setattr(pyrage, "decrypt", lambda *arguments: count.append(1) or decrypt(*arguments))
    store.path.write_bytes(store.path.read_bytes())
    for _ in range(3):
        Store(store.path, store.identity).read()
    assert len(count) == 1
    store.commit([New("x", "y", 0, NOW)])
    assert store.version("x").value == "y"


def test_roots_change_leaves_the_file_to_its_owner(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(disk.os, "geteuid", lambda: 0)
    monkeypatch.setattr(disk.os, "fchown", lambda _fd, user, group: owners.append((user, group)))
    if os.getuid() == 0:
        os.chown(store.path, 1234, 5678)
    store.commit([New("x", "y", 0, NOW)])
    found = (1234, 5678) if os.getuid() == 0 else (os.getuid(), os.getgid())
    assert owners == [found]
