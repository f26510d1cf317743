"""What cases cannot say of PostgreSQL's operations: passwords with their random salt, and quoting of anything."""

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api import StringCommand
from pyinfra.context import ctx_host, ctx_state
from pyinfra_testing.util import FakeHost, FakeState

from facts.postgresql import NOBODY, identifier, literal
from operations.postgresql_role import login
from unterbau.changes import Record, recording
from unterbau.secrets.hidden import Hidden, redact

PASSWORD = "correct horse battery staple"
VERIFIER = re.compile(r"SCRAM-SHA-256\$4096:[^']+")


def role(**more: Any) -> dict[str, Any]:
    attributes = dict.fromkeys(("superuser", "create_role", "create_db", "replication", "bypass_rls"), False)
    return {
        **attributes, "can_login": True, "inherit": True, "valid_until": None, "verifier_sha256": None,
        "comment": "unterbau", "member_of": {}, "databases": [], **more,
    }  # fmt: skip


def run(found: Any, *, executing: bool = False, **wanted: Any) -> tuple[list[Any], Record]:
    """(commands, what was said) of a login whose fact is `found`."""
    state = FakeState()
    state.is_executing = executing
    key = "role=app"
    host = FakeHost(state, "wrk-1", facts={"postgresql.Login": {key: found}}, data={})
    wanted = {"password": Hidden(PASSWORD), "fingerprint": "new", **wanted}
    with ctx_state.use(state), ctx_host.use(host), recording() as record:
        return list(login._inner(role="app", **wanted)), record


def stdin(command: StringCommand) -> str:
    return str(command.connector_arguments["_stdin"])


def test_a_password_travels_as_a_verifier_on_stdin_and_nowhere_else() -> None:
    (command,), record = run(None)
    sent = stdin(command)
    found = VERIFIER.search(sent)
    assert found is not None
    assert PASSWORD not in sent
    assert found[0] not in command.get_raw_value()
    assert redact(sent).count("SCRAM") == 0  # an error that quotes it does not show it
    digest = hashlib.sha256(found[0].encode()).hexdigest()
    assert f"unterbau {json.dumps({'password': 'new', 'verifier': digest})}" in sent
    assert "login app password" in [change.subject for change in record.changes]


def test_it_is_not_logged_and_whole_or_not_at_all() -> None:
    (command,), _ = run(None)
    lines = stdin(command).splitlines()
    silent = [number for number, line in enumerate(lines) if line.startswith("SET ")]
    begin, commit = lines.index("BEGIN;"), lines.index("COMMIT;")
    secret = [number for number, line in enumerate(lines) if "PASSWORD" in line or "COMMENT" in line]
    assert max(silent) < begin < min(secret) <= max(secret) < commit == len(lines) - 1
    assert "SET log_statement = 'none';" in lines


def test_two_runs_take_two_salts() -> None:
    made = {VERIFIER.search(stdin(run(None)[0][0]))[0] for _ in range(2)}
    assert len(made) == 2


@pytest.mark.parametrize(
    ("mark", "there", "said"),
    [
        ({"password": "new", "verifier": "v"}, "v", None),
        ({"password": "old", "verifier": "v"}, "v", "an older one"),
        ({"password": "new", "verifier": "v"}, "w", "another one, set by hand"),
        ({"password": "new", "verifier": "v"}, None, "none"),
        ({}, "v", "another one, set by hand"),
        ({"password": "new", "verifier": None}, None, "none"),
    ],
)
def test_a_password_is_set_if_it_is_another_whoever_changed_it(mark: Any, there: Any, said: str | None) -> None:
    commands, record = run(role(comment=f"unterbau {json.dumps(mark)}", verifier_sha256=there))
    old = [change.old or "none" for change in record.changes if change.subject == "login app password"]
    assert old == ([said] if said else [])
    assert len(commands) == len(old)
    assert all('ALTER ROLE "app" PASSWORD \'SCRAM' in stdin(command) for command in commands)


@pytest.mark.parametrize("executing", [False, True])
def test_a_stopped_server_is_waited_for_in_a_plan_only(executing: bool) -> None:
    (command,), record = run(NOBODY, executing=executing)
    assert isinstance(command, StringCommand) is not executing
    assert bool(record.refusals) is executing


def test_a_damaged_mark_is_still_ours() -> None:
    (command,), record = run(role(comment="unterbau {", verifier_sha256="v"))
    assert not record.refusals
    assert "COMMENT ON ROLE" in stdin(command)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_literal_ends_where_it_should(text: str) -> None:
    """Read as PostgreSQL reads it: doubled quotes are one, in an E'' literal doubled backslashes too."""
    made = literal(text).strip()
    escaped = made.startswith("E")
    body = made.removeprefix("E")[1:-1]
    pairs = {"''": "'", "\\\\": "\\"} if escaped else {"''": "'"}
    read = re.sub(r"''|\\\\" if escaped else "''", lambda m: pairs[m[0]], body)
    assert read == text
    assert not re.search(r"(?<!')'(?!')", re.sub("''", "", body))
    assert ("\\" in text) is escaped


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15))
def test_a_name_ends_where_it_should(name: str) -> None:
    made = identifier(name)
    assert made[0] == made[-1] == '"'
    assert made[1:-1].replace('""', "").count('"') == 0
    assert made[1:-1].replace('""', '"') == name


@pytest.mark.parametrize("name", ["", "x" * 64, "ä" * 32, "nul\0"])
def test_a_name_that_postgresql_would_cut_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="63 bytes"):
        identifier(name)
