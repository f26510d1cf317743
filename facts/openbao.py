"""OpenBao on a node: its files, its process, its data on disk, and what every member's API says without a login."""

from __future__ import annotations

import json
import posixpath
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.certificate import WITHOUT_AUTHORITIES
from facts.config_file import FileState, parsed, reading
from facts.service import PROPERTIES, STARTS
from unterbau.domain.unknown import UNKNOWN, Unknown

UNIT = "openbao.service"
USER = "openbao"
CONFIG = "/etc/openbao/server.hcl"
SEAL_FOLDER = "/etc/openbao/seal"
DATA_FOLDER = "/var/lib/openbao"
# There while an initialisation is under way: what is in DATA_FOLDER then was never anybody's.
FOUNDING = "/var/lib/unterbau/openbao/founding"
TRUST = "/etc/unterbau/pki/ca.pem"
CERTIFICATE = "/etc/unterbau/pki/openbao.pem"
CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 4
FOUNDING_WAIT_S = 15


class MemberApi(TypedDict):
    """One member's API as this node reaches it. All but `answers` are None if it does not answer."""

    answers: bool
    initialized: bool | None
    sealed: bool | None
    leads: bool | None
    version: str | None
    committed_index: int | None  # None as well while it is sealed
    applied_index: int | None


class Server(TypedDict):
    """The server on this node."""

    active: str  # as systemd has it; "inactive" if there is no such unit
    enabled: str
    needs_daemon_reload: bool
    started_s: float | None
    now_s: float
    files: dict[str, FileState]  # those asked for; of secrets, keys and folders the digest at most
    seal_keys: list[str]  # names of the files in SEAL_FOLDER
    has_data: bool  # it took part in an election once: it belongs to a cluster
    founding: bool  # an initialisation was begun on this node and not finished
    api: dict[str, MemberApi]
    certificate: str | None  # SHA-256 of the certificate on the disk, hex
    served_certificate: str | None  # of the one that the listener shows
    certificate_ends_at: str | None  # UTC, ISO 8601
    audit_free_bytes: dict[str, int | None]  # of the file system of each audit log; None if its folder is not there


DOWN: MemberApi = {
    "answers": False, "initialized": None, "sealed": None, "leads": None, "version": None,
    "committed_index": None, "applied_index": None,
}  # fmt: skip


def serves(member: MemberApi) -> bool:
    """Whether it answers and is unsealed, leading or following."""
    return member["answers"] and member["initialized"] is True and member["sealed"] is False


def asking(members: Mapping[str, str], port: int) -> str:
    """Shell text that asks every member, two lines a member: `api NAME health JSON`, `api NAME leader JSON` or empty.

    sys/health and sys/leader need no token and are not audited, so they answer with a full audit disk as well.
    """
    limits = f"--connect-timeout {CONNECT_TIMEOUT_S} --max-time {ANSWER_TIMEOUT_S}"
    curl = f"curl --silent --fail-early --noproxy '*' {limits} --cacert {TRUST} --write-out '\\n'"
    line = """printf 'api\\t%s\\t%s\\t%s\\n' "$1" {what} "$(printf '%s\\n' "$said" | sed -n {number}p)"; """
    ask = (
        f'ask() {{ said=$({curl} "$2/health" "$2/leader" 2>/dev/null | grep .); '  # both over one connection
        f"{line.format(what='health', number=1)}{line.format(what='leader', number=2)}}}"
    )
    asked = [f"ask {shlex.quote(name)} {shlex.quote(f'https://{at}:{port}/v1/sys')}" for name, at in members.items()]
    return "; ".join(["command -v curl >/dev/null || echo 'no curl'", ask, *asked])


def answers(output: Sequence[str]) -> dict[str, MemberApi]:
    """What `asking` printed, by member. Without curl nobody was asked: before the first run has installed it."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for line in output:
        if line.startswith("api\t"):
            _, name, what, text = line.split("\t", 3)
            found[name][what] = _json(text)
    return {name: _member(said.get("health"), said.get("leader")) for name, said in found.items()}


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None  # none, or one that was cut off
    return value if isinstance(value, dict) else None


def _member(health: dict[str, Any] | None, leader: dict[str, Any] | None) -> MemberApi:
    if health is None or "sealed" not in health:
        return DOWN
    leader = leader or {}
    return {
        "answers": True,
        "initialized": bool(health["initialized"]),
        "sealed": bool(health["sealed"]),
        "leads": bool(leader.get("is_self")),
        "version": str(health["version"]),
        "committed_index": leader.get("raft_committed_index"),
        "applied_index": leader.get("raft_applied_index"),
    }


class Members(FactBase[dict[str, MemberApi] | Unknown]):
    """The API of each of `members` {name: address}, asked from this node."""

    @override
    @staticmethod
    def default() -> dict[str, MemberApi] | Unknown:
        return UNKNOWN

    @override
    def command(self, members: Mapping[str, str], port: int) -> str:
        return asking(members, port)

    @override
    def process(self, output: list[str]) -> dict[str, MemberApi] | Unknown:
        return answers(output)


class Data(FactBase[dict[str, bool] | Unknown]):
    """{has_data, founding} of this node's disk, whether or not a server runs on it."""

    @override
    @staticmethod
    def default() -> dict[str, bool] | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        return data_reading()

    @override
    def process(self, output: list[str]) -> dict[str, bool] | Unknown:
        return data_of(output)


def data_reading() -> str:
    """Shell text that prints `data yes|no` and `founding yes|no`, after an initialisation that is under way has ended.

    It goes on for some seconds when the run that began it was killed: what is read meanwhile is soon not true any more.
    A server that waits to join makes its database files as well: only one that took part in an election has a term
    in it. Source: hashicorp/raft, keyCurrentTerm.
    """
    term = f"grep -qaF CurrentTerm {DATA_FOLDER}/raft/raft.db"
    busy = f"an initialisation has been running for more than {FOUNDING_WAIT_S} s; see what it waits for"
    return (
        f"! test -e {FOUNDING}.lock || flock -w {FOUNDING_WAIT_S} {FOUNDING}.lock true || "
        f"{{ echo '{busy}' >&2; exit 1; }}; "
        f"if test -e {DATA_FOLDER}/raft/raft.db; then {term}; code=$?; else code=1; fi; "
        "case $code in 0) echo 'data yes';; 1) echo 'data no';; *) exit 1;; esac; "
        f"if test -e {FOUNDING}; then echo 'founding yes'; else echo 'founding no'; fi"
    )


def data_of(output: Sequence[str]) -> dict[str, bool]:
    """What `data_reading` printed."""
    if not {"data yes", "data no"} & set(output):
        raise FactProcessError(f"cannot read whether there is raft data: found {list(output)[:3]}")
    return {"has_data": "data yes" in output, "founding": "founding yes" in output}


class State(FactBase[Server | Unknown]):
    """Everything about the server on the node called `node`, in one command."""

    @override
    @staticmethod
    def default() -> Server | Unknown:
        return UNKNOWN

    @override
    def command(
        self,
        node: str,
        members: Mapping[str, str],
        port: int,
        files: Sequence[str],
        unread_files: Sequence[str],
        audit_paths: Sequence[str],
    ) -> str:
        properties = ",".join(PROPERTIES + STARTS)
        return "; ".join(
            (
                data_reading(),  # first: it may wait, and what follows is to be true after that
                f"date +now=%s.%N && systemctl show --timestamp=us+utc --property={properties} -- {UNIT} || exit 1",
                reading(files),
                reading(unread_files, content=False),
                f"! test -d {SEAL_FOLDER} || find {SEAL_FOLDER} -mindepth 1 -printf 'key\\t%f\\n' || exit 1",
                *_certificates(f"{members[node]}:{port}"),
                *_free(audit_paths),
                asking(members, port) if members else ":",
            )
        )

    @override
    def process(self, output: list[str]) -> Server | Unknown:
        values = {name: value for name, _, value in (line.partition("=") for line in output if line[:1] != "/")}
        rows = [line.split("\t") for line in output]
        try:
            active, enabled, needs_reload = (values[name] for name in PROPERTIES)
            now = float(values["now"])
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"cannot read what systemctl show said of {UNIT}: {error!r}") from error
        if "no curl" in output and active == "active":
            raise FactProcessError(f"cannot ask {UNIT} how it does: found no curl; install the package again")
        return {
            "active": active,
            "enabled": enabled,
            "needs_daemon_reload": needs_reload == "yes",
            "started_s": _started(values),
            "now_s": now,
            "files": dict(parsed(line) for line in output if line.startswith("/")),
            "seal_keys": sorted(row[1] for row in rows if row[0] == "key"),
            "has_data": data_of(output)["has_data"],
            "founding": data_of(output)["founding"],
            "api": answers(output),
            "certificate": _fingerprint(values.get("disk-sha256 Fingerprint")),
            "served_certificate": _fingerprint(values.get("served-sha256 Fingerprint")),
            "certificate_ends_at": _end(values.get("disk-notAfter")),
            "audit_free_bytes": {row[1]: _number(row[2]) for row in rows if row[0] == "free"},
        }


def _certificates(endpoint: str) -> Iterator[str]:
    """The certificate on the disk (never its key) and the one that is served, as `disk-…=` and `served-…=` lines."""
    show = f"{WITHOUT_AUTHORITIES} openssl x509 -noout -fingerprint -sha256 -enddate 2>/dev/null"
    yield f"! test -e {CERTIFICATE} || {show} < {CERTIFICATE} | sed 's/^/disk-/'"
    ask = f"openssl s_client -connect {shlex.quote(endpoint)} </dev/null 2>/dev/null"
    served = f"{WITHOUT_AUTHORITIES} timeout {ANSWER_TIMEOUT_S} {ask}"
    yield f"{served} | {show} | sed 's/^/served-/'"


def _free(audit_paths: Sequence[str]) -> Iterator[str]:
    for path in audit_paths:
        folder = shlex.quote(posixpath.dirname(path))
        free = f"$(df --output=avail -B1 -- {folder} 2>/dev/null | tail -n 1 | tr -d ' ')"
        yield f"printf 'free\\t%s\\t%s\\n' {shlex.quote(path)} \"{free}\""


def _started(values: Mapping[str, str]) -> float | None:
    for name in STARTS:
        if values.get(name):
            return datetime.strptime(values[name], "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()
    return None


def _fingerprint(text: str | None) -> str | None:
    return text.replace(":", "").lower() if text else None


def _end(text: str | None) -> str | None:
    """ "Feb 20 00:23:08 2027 GMT" -> "2027-02-20T00:23:08Z"."""
    if not text:
        return None
    return datetime.strptime(text, "%b %d %H:%M:%S %Y %Z").strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
