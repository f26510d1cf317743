"""The keyring: one value a run for plan and consumers, and never one that was not stored."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyinfra.api import StringCommand
from pyinfra.context import ctx_state

from unterbau.declaration import CertificateAuthority, Password, RandomKey, Secret, SecretStore
from unterbau.domain.rotation import overdue_days
from unterbau.secrets import generator
from unterbau.secrets.hidden import MASK, redact
from unterbau.secrets.identity import new_identity
from unterbau.secrets.keyring import Keyring
from unterbau.secrets.pki import read_certificate
from unterbau.secrets.store import New, Store, StoreError

NOW = datetime.now(UTC)
DECLARED = (
    Secret(name="db/password", kind=Password(length=40), rotate_after_days=30),
    Secret(name="forever", kind=RandomKey()),
    Secret(name="keyed-hash", kind=RandomKey()),
    Secret(name="by-hand", rotate_after_days=30),
)


@pytest.fixture
def declared(tmp_path: Path) -> SecretStore:
    new_identity(tmp_path / "identity.txt")
    Store.create(tmp_path / "store.age", tmp_path / "identity.txt")
    return SecretStore(path=str(tmp_path / "store.age"), identity=str(tmp_path / "identity.txt"))


def store_of(declared: SecretStore) -> Store:
    return Store(declared.path, declared.identity)


def put(declared: SecretStore, name: str, *days_ago: int) -> None:
    """Versions of so many days ago; the value of the first is "NAME value 1"."""
    for number, days in enumerate(days_ago):
        new = New(name, f"{name} value {number + 1}", number, NOW - timedelta(days=days))
        store_of(declared).commit([new])


def ring(declared: SecretStore, rotate: bool = True, **options: bool) -> Keyring:
    return Keyring.of(declared, DECLARED, rotate, **options)


def executing() -> object:
    return ctx_state.use(SimpleNamespace(is_executing=True))


def test_a_stored_secret_is_its_current_value_hidden(declared: SecretStore) -> None:
    put(declared, "db/password", 10, 5)
    value = ring(declared).value("db/password")
    assert value.unmask() == "db/password value 2"
    assert str(StringCommand("set", value)) == f"set {MASK}"
    assert redact("it is db/password value 2!") == f"it is {MASK}!"
    with executing():
        assert value.unmask() == "db/password value 2"


def test_a_missing_one_that_can_be_made_is_the_same_for_everybody_in_a_run(declared: SecretStore) -> None:
    before = Path(declared.path).read_bytes()
    made = ring(declared).value("db/password")
    assert re.fullmatch(r"[A-Za-z0-9]{40}", made.unmask())
    assert ring(declared, rotate=False).value("db/password") is made
    assert (ring(declared).version("db/password"), ring(declared).is_new("db/password")) == (1, True)
    assert Path(declared.path).read_bytes() == before
    assert made.unmask() not in (repr(made), str(made))


def test_no_consumer_uses_a_value_that_was_not_stored(declared: SecretStore) -> None:
    made = ring(declared).value("db/password")
    expected = "cannot use version 1 of the secret db/password: the store does not have it; see"
    with executing(), pytest.raises(StoreError, match=expected):
        StringCommand("set", made).get_raw_value()
    ring(declared).commit({"db/password": 1})
    with executing():
        assert made.unmask() == store_of(declared).version("db/password").value
    assert ring(declared).value("db/password").unmask() == made.unmask()
    assert not ring(declared).is_new("db/password")


def test_what_another_process_stored_meanwhile_stays(declared: SecretStore) -> None:
    made = ring(declared).value("db/password")
    forever = ring(declared).value("forever")
    put(declared, "db/password", 0)
    with pytest.raises(StoreError, match="cannot store version 1 of db/password: found version 1 meanwhile; nothing"):
        ring(declared).commit({"forever": 1, "db/password": 1})
    assert list(store_of(declared).read().secrets) == ["db/password"]
    for value in (made, forever):
        with executing(), pytest.raises(StoreError, match="cannot use version 1"):
            value.unmask()
    assert ring(declared).value("db/password").unmask() == "db/password value 1"


def test_a_command_that_is_tried_again_stores_nothing_twice(declared: SecretStore) -> None:
    ring(declared).commit({"forever": 1})
    ring(declared).commit({"forever": 1})
    assert len(store_of(declared).read().secrets["forever"]) == 1


def test_only_what_is_declared_with_a_kind_can_be_made(declared: SecretStore) -> None:
    for name in ("by-hand", "stranger"):
        with pytest.raises(StoreError, match=f"cannot make the secret {name}: nothing declares how"):
            ring(declared).commit({name: 1})
        with pytest.raises(
            StoreError, match=f"there is none of this name.*; set it with `unterbau secrets set {name} --env ENV`"
        ):
            ring(declared).value(name)
    with pytest.raises(StoreError, match="did you mean forever"):
        ring(declared).value("forevr")


def test_due_means_a_new_one_only_where_everybody_gets_it(declared: SecretStore) -> None:
    put(declared, "db/password", 30)
    assert ring(declared, rotate=False).value("db/password").unmask() == "db/password value 1"
    new = ring(declared).value("db/password")
    assert new.unmask() != "db/password value 1"
    assert ring(declared).version("db/password") == 2
    assert ring(declared, rotate=False).version("db/password") == 1
    assert [one.unmask() for one in ring(declared).versions("db/password", 5)] == [new.unmask(), "db/password value 1"]
    ring(declared).commit({"db/password": 2})
    assert ring(declared).value("db/password").unmask() == new.unmask()
    assert store_of(declared).version("db/password").number == 2


def test_a_run_without_the_store_makes_nothing(declared: SecretStore) -> None:
    put(declared, "db/password", 40)
    without = ring(declared, generate=False)
    assert without.value("db/password").unmask() == "db/password value 1"
    with pytest.raises(StoreError, match=r"forever: it is not in .* yet, and this run leaves the store out.*; widen"):
        without.value("forever")


def test_what_is_not_due_or_has_no_period_or_no_kind_stays(declared: SecretStore) -> None:
    put(declared, "db/password", 29)
    put(declared, "forever", 4000)
    put(declared, "by-hand", 4000)
    assert [ring(declared).version(name) for name in ("db/password", "forever", "by-hand")] == [1, 1, 1]


def test_versions_are_the_newest_first(declared: SecretStore) -> None:
    put(declared, "forever", 3, 2, 1)
    values = [[one.unmask() for one in ring(declared).versions("forever", newest)] for newest in (1, 2, 9)]
    assert values == [[f"forever value {number}" for number in numbers] for numbers in ([3], [3, 2], [3, 2, 1])]
    assert ring(declared).made_at("forever") == (NOW - timedelta(days=1)).replace(microsecond=0)


def test_within_has_those_that_were_replaced_lately(declared: SecretStore) -> None:
    put(declared, "by-hand", 90, 60, 20, 5)  # replaced 60, 20 and 5 days ago
    found = {days: [one.unmask()[-1] for one in ring(declared).within("by-hand", days)] for days in (1, 6, 21, 61)}
    assert found == {1: ["4"], 6: ["4", "3"], 21: ["4", "3", "2"], 61: ["4", "3", "2", "1"]}


def test_within_has_the_one_that_is_about_to_be_replaced(declared: SecretStore) -> None:
    put(declared, "db/password", 31)
    new, old = ring(declared).within("db/password", 1)
    assert (old.unmask(), new) == ("db/password value 1", ring(declared).value("db/password"))


def test_metadata_has_no_value(declared: SecretStore) -> None:
    put(declared, "db/password", 70, 35)
    put(declared, "stranger", 500)
    found = ring(declared).metadata()
    assert {name: (one["version"], one["overdue_days"]) for name, one in found.items()} == {
        "db/password": (2, 5), "stranger": (1, None)
    }  # fmt: skip
    assert "value" not in str(found)


def test_a_keyed_hash_tells_purposes_and_keys_apart(declared: SecretStore) -> None:
    keys = ring(declared)
    first = keys.keyed_hash("policy", "text")
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert first == keys.keyed_hash("policy", "text")
    assert len({first, keys.keyed_hash("mount", "text"), keys.keyed_hash("policy", "other")}) == 3
    assert keys.keyed_hash("", "a") != keys.keyed_hash("a", "")
    put(declared, "keyed-hash", 0)
    assert ring(declared).keyed_hash("policy", "text") != first


def test_a_store_that_cannot_be_read_is_a_sentence_for_every_consumer(declared: SecretStore) -> None:
    Path(declared.identity).chmod(0o644)
    other = SecretStore(path=declared.path, identity=declared.identity + "x")
    with pytest.raises(StoreError, match="cannot read the identity"):
        Keyring.of(other, DECLARED, rotate=True).value("db/password")


@pytest.mark.parametrize(
    ("kind", "pattern", "words"),
    [
        (Password(length=16), r"[A-Za-z0-9]{16}", "password of 16 characters"),
        (Password(length=20, alphabet="letters-digits-punctuation"), r"[A-Za-z0-9+,.=^_]{20}",
         "password of 20 characters"),
        (Password(length=64, alphabet="hex"), r"[0-9a-f]{64}", "password of 64 characters"),
        (RandomKey(size_bytes=32), r"[A-Za-z0-9+/]{43}=", "random key of 32 bytes"),
        (CertificateAuthority(common_name="demo root", life_days=10), r"(?s)-----BEGIN PRIVATE KEY-----.*",
         "authority 'demo root' for 10 days"),
    ],
)  # fmt: skip
def test_every_kind_can_be_made(kind: object, pattern: str, words: str) -> None:
    one, other = generator.make(kind, NOW), generator.make(kind, NOW)
    assert re.fullmatch(pattern, one)
    assert one != other
    assert generator.described(kind) == words


def test_what_is_made_is_what_was_asked_for() -> None:
    assert len(base64.b64decode(generator.make(RandomKey(size_bytes=48), NOW))) == 48
    authority = generator.make(CertificateAuthority(common_name="demo root", life_days=10), NOW)
    assert read_certificate(authority).subject == "CN=demo root"
    for _ in range(50):
        value = generator.make(Password(length=16, alphabet="letters-digits-punctuation"), NOW)
        assert all(re.search(group, value) for group in ("[a-z]", "[A-Z]", "[0-9]", "[+,.=^_]"))


@pytest.mark.parametrize(
    ("age_days", "period_days", "over"),
    [(0, 1, None), (1, 1, 0), (29, 30, None), (30, 30, 0), (42, 30, 12), (9999, None, None), (-5, 1, None)],
)
def test_overdue_counts_whole_days(age_days: int, period_days: int | None, over: int | None) -> None:
    assert overdue_days(NOW - timedelta(days=age_days), period_days, NOW) == over
