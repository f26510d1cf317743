"""Credentials for PostgreSQL from OpenBao: they log in, they end, and both ends get a new password in one run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.bao import Bao, BaoError, eventually
from tests.lab.checkouts import checkout_for
from tests.lab.commands import LIMIT_S, ROOT, inside, unterbau
from unterbau.lab import everyone
from unterbau.lab.layout import Lab

pytestmark = pytest.mark.lab

ENGINE = "postgresql/openbao"
TLS = "sslmode=verify-full sslrootcert=/etc/unterbau/pki/ca.pem"
SHORT_S = 20  # long enough for a login on a busy host
GONE_WITHIN_S = SHORT_S + 60  # the engine looks for ended leases by itself


@dataclass(frozen=True)
class Platform:
    """A converged lab: its commands, its OpenBao, its PostgreSQL."""

    lab: Lab
    root: Path

    @property
    def bao(self) -> Bao:
        return Bao(self.lab)

    def run(self, *arguments: str) -> tuple[int, str]:
        ran = unterbau(*arguments, cwd=self.root, env=None)
        return ran.returncode, ran.stdout + ran.stderr

    def must(self, *arguments: str) -> str:
        code, said = self.run(*arguments)
        assert code == 0, said
        return said

    def planned(self, *arguments: str) -> list[tuple[str, str, list[str]]]:
        """[(host, layer | operation, subjects)] of what a plan would change."""
        document = json.loads(unterbau("plan", "lab", "--json", *arguments, cwd=self.root).stdout)
        assert not document["problems"], document["problems"]
        return [
            (c["host"], f"{c['layer']} | {c['operation']}", [part["subject"] for part in c["changes"]])
            for c in document["changes"]
        ]

    def shell(self, command: str, stdin: str = "") -> subprocess.Popen[str]:
        """A command on the node of PostgreSQL."""
        name = next(machine.name for machine in everyone.machines(self.lab) if machine.name.endswith("wrk-1"))
        process = subprocess.Popen(
            inside(self.lab, name, "sh", "-c", command),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.flush()
        return process

    def sql(self, statement: str) -> str:
        """As the superuser, on the node."""
        said, _ = self.shell("cd /; runuser -u postgres -- psql -XqAt -d demo -f -", statement).communicate(
            None, LIMIT_S
        )
        return said.strip()

    def session(self, who: Credentials, statement: str, options: str = TLS) -> subprocess.Popen[str]:
        """A session over the network, as an application has it; the password goes in on standard input."""
        place = f"host=wrk-1.lab.internal dbname=demo user={who.name} {options}"
        command = f"read -r PGPASSWORD; export PGPASSWORD; exec psql -XqAt '{place}' -f -"
        return self.shell(command, f"{who.password}\n{statement}\n")

    def ask(self, who: Credentials, statement: str, options: str = TLS) -> str:
        return self.session(who, statement, options).communicate(None, LIMIT_S)[0].strip()

    def application(self) -> str:
        """A token that may ask for the demo's credentials: a login by AppRole with a wrapped secret id."""
        token = self.bao.deploy_token(self.bao.active())
        role = self.bao.call(self.bao.active(), "GET", "auth/approle/role/demo/role-id", token=token)["data"]["role_id"]
        path = "auth/approle/role/demo/secret-id"
        wrapped = self.bao.call(self.bao.active(), "POST", path, {}, token=token, wrap="60s")["wrap_info"]["token"]
        secret = self.bao.call(self.bao.active(), "POST", "sys/wrapping/unwrap", {}, token=wrapped)["data"]["secret_id"]
        body = {"role_id": role, "secret_id": secret}
        return str(self.bao.call(self.bao.active(), "POST", "auth/approle/login", body)["auth"]["client_token"])

    def credentials(self, token: str) -> Credentials:
        said = self.bao.call(self.bao.active(), "GET", "database/creds/demo", token=token)
        return Credentials(said["data"]["username"], said["data"]["password"], said["lease_id"])

    def static(self, token: str) -> Credentials:
        said = self.bao.call(self.bao.active(), "GET", "database/static-creds/demo-batch", token=token)
        return Credentials(said["data"]["username"], said["data"]["password"])

    def exists(self, name: str) -> bool:
        assert re.fullmatch(r"[A-Za-z0-9_-]+", name)
        said = self.sql(f"SELECT count(*) FROM pg_roles WHERE rolname = '{name}';")  # noqa: S608
        assert said in ("0", "1"), said
        return said == "1"

    def no_engine_sessions(self) -> None:
        """The engine's open sessions were let in with whatever password was right then."""
        self.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'openbao';")

    def lives(self, seconds: int) -> None:
        """Give the demo's credentials another life, by hand."""
        token = self.bao.deploy_token(self.bao.active())
        role: dict[str, Any] = self.bao.call(self.bao.active(), "GET", "database/roles/demo", token=token)["data"]
        self.bao.call(self.bao.active(), "POST", "database/roles/demo", {**role, "default_ttl": seconds}, token=token)


@dataclass(frozen=True)
class Credentials:
    name: str
    password: str
    lease: str = ""


@pytest.fixture(scope="module")
def platform(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    found = Platform(lab, checkout_for(lab, tmp_path_factory.mktemp("checkout"), ROOT, k3s=False))
    found.must("apply", "lab", "-y")
    return found


@pytest.fixture
def short(platform: Platform) -> Iterator[Platform]:
    """Leases of the demo end after SHORT_S; the plan sees it and puts it right."""
    platform.lives(SHORT_S)
    yield platform
    assert platform.planned() == [
        ("vault", "vault database | roles", ["database-role database/demo ttl"]),
    ]
    platform.must("apply", "lab", "-y")


def test_credentials_log_in_with_tls_only_and_end_with_their_lease(short: Platform) -> None:
    who = short.credentials(short.application())
    said = short.ask(who, "SELECT current_user, ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid();")
    assert said == f"{who.name}|t|TLSv1.3"
    assert "no encryption" in short.ask(who, "SELECT 1;", options="sslmode=disable")
    eventually(lambda: not short.exists(who.name), GONE_WITHIN_S)
    assert "password authentication failed" in short.ask(who, "SELECT 1;")


def test_revocation_drops_a_role_that_owns_a_table_and_has_a_session(platform: Platform) -> None:
    """With its token goes all that it was given; what the role made stays, with the database's owner."""
    token = platform.application()
    who = platform.credentials(token)
    platform.sql(f'GRANT CREATE ON SCHEMA public TO "{who.name}";')
    asleep = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{who.name}' AND wait_event = 'PgSleep';"  # noqa: S608
    try:
        assert platform.ask(who, "CREATE TABLE left_behind (x int); INSERT INTO left_behind VALUES (7);") == ""
        session = platform.session(who, "BEGIN; INSERT INTO left_behind VALUES (8); SELECT pg_sleep(600);")
        eventually(lambda: platform.sql(asleep) == "1", LIMIT_S)
        platform.bao.call(platform.bao.active(), "POST", "auth/token/revoke-self", {}, token=token)
        eventually(lambda: not platform.exists(who.name), GONE_WITHIN_S)
        assert "terminating connection" in session.communicate(None, LIMIT_S)[0]
        assert platform.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'left_behind';") == "demo"
        assert platform.sql("SELECT x FROM left_behind;") == "7"
    finally:
        platform.sql("DROP TABLE IF EXISTS left_behind;")


def test_a_static_role_rotates(platform: Platform) -> None:
    token = platform.application()
    before = platform.static(token)
    assert platform.ask(before, "SELECT current_user;") == "demo_batch"
    deploy = platform.bao.deploy_token(platform.bao.active())
    platform.bao.call(platform.bao.active(), "POST", "database/rotate-role/demo-batch", {}, token=deploy)
    after = platform.static(token)
    assert platform.ask(after, "SELECT current_user;") == "demo_batch"
    assert "password authentication failed" in platform.ask(before, "SELECT 1;")


def test_a_new_password_reaches_both_ends_in_one_run(platform: Platform) -> None:
    platform.must("secrets", "rotate", ENGINE, "--env", "lab")
    assert [(host, operation) for host, operation, _ in platform.planned()] == [
        ("wrk-1", "postgresql engine | login openbao"),
        ("vault", "vault database | connections"),
    ]
    platform.must("apply", "lab", "-y")
    platform.no_engine_sessions()
    assert platform.exists(platform.credentials(platform.application()).name)
    assert platform.planned() == []


def test_a_run_without_vault_changes_neither_end(platform: Platform) -> None:
    platform.must("secrets", "rotate", ENGINE, "--env", "lab")
    assert platform.planned("--limit", "wrk-1") == []
    platform.must("apply", "lab", "-y", "--limit", "wrk-1")
    platform.no_engine_sessions()
    assert platform.exists(platform.credentials(platform.application()).name)
    platform.must("apply", "lab", "-y")
    assert platform.planned() == []


def test_a_run_that_did_one_end_only_is_completed_by_the_next(platform: Platform, tmp_path: Path) -> None:
    """Between the two, what needs a new session fails with an error, and works again after."""
    platform.must("secrets", "rotate", ENGINE, "--env", "lab")
    one_end = ["apply", "lab", "-y", "--limit", "wrk-1"]
    ran = unterbau(*one_end, cwd=half_a_run(platform, tmp_path), env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    platform.no_engine_sessions()
    token = platform.application()
    with pytest.raises(BaoError, match=r"password authentication failed"):
        platform.credentials(token)
    assert [host for host, _, _ in platform.planned()] == ["vault"]
    platform.must("apply", "lab", "-y")
    assert platform.exists(platform.credentials(token).name)


def half_a_run(platform: Platform, root: Path) -> Path:
    """A checkout whose run ends where a killed one would: after PostgreSQL, before the connections."""
    for folder in ("inventories", "group_data"):
        (root / folder).symlink_to(platform.root / folder)
    (root / "deploys").mkdir()
    (root / "deploys" / "site.py").write_text("from deploys.postgresql import engine_logins\nengine_logins()\n")
    return root


def test_a_password_that_somebody_set_by_hand_is_put_right(platform: Platform) -> None:
    platform.sql("ALTER ROLE openbao PASSWORD 'by hand, and wrong';")
    assert platform.planned() == [
        ("wrk-1", "postgresql engine | login openbao", ["login openbao password"]),
    ]
    platform.must("apply", "lab", "-y")
    platform.no_engine_sessions()
    assert platform.exists(platform.credentials(platform.application()).name)


def test_postgresql_never_logged_a_password_or_a_verifier(platform: Platform) -> None:
    """After all of the above; the search itself finds what is there."""
    look = "cat /var/log/postgresql/*.log"
    log = platform.shell(look).communicate(None, LIMIT_S)[0]
    assert "connection authenticated" in log
    assert "SCRAM-SHA-256$" not in log
    assert platform.bao.secret(ENGINE) not in log
