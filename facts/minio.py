"""MinIO on a node: its files, its process and what that was started with, its drives, and every member's health.

Nothing here needs a login: /minio/health and, with MINIO_PROMETHEUS_AUTH_TYPE=public, the metrics are open.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.certificate import WITHOUT_AUTHORITIES
from facts.config_file import FileState, parsed, reading
from facts.minio_drive import DriveState, drives_of, folder_of, reading_drives
from facts.service import PROPERTIES, STARTS
from unterbau.domain.unknown import UNKNOWN, Unknown

UNIT = "minio.service"
USER = "minio"
FOLDER = "/etc/minio"
LAYOUT, ENVIRONMENT, ROOT_PASSWORD, KMS_KEY = (
    f"{FOLDER}/{name}" for name in ("layout.yaml", "environment", "root-password", "kms-key")
)
CREDENTIALS = f"/run/credentials/{UNIT}"
STARTED_WITH = {path: f"{CREDENTIALS}/{path.rpartition('/')[2]}" for path in (LAYOUT, ROOT_PASSWORD, KMS_KEY)}
TRUST = "/etc/unterbau/pki/ca.pem"
CERTIFICATE = "/etc/unterbau/pki/minio.pem"
CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 12  # a member asks all others before it answers; one that hangs costs it 10 s
HEALTH = ("live", "cluster", "cluster/read", "cluster?maintenance=true")
SETS = "minio_cluster_health_erasure_set"


class MemberApi(TypedDict):
    """What one member answers to this node. All but `answers` are False and 0 if it does not."""

    answers: bool
    writes: bool  # every set has its write quorum, as this member sees it
    reads: bool
    spare: bool  # every set would have it without this member too, and no other drive is being healed
    healing: int  # drives of others that are being healed


class SetHealth(TypedDict):
    """Drives of one erasure set, as one member sees them; at most 10 s old."""

    online: int
    healing: int


class Process(TypedDict):
    """What the running server was started with: digests, None if there is none."""

    binary: str | None  # its path
    environment: str | None  # of its MINIO_ variables, sorted, one a line
    layout: str | None  # the text itself
    files: dict[str, str | None]  # {configuration file: digest of the copy that it was given}


class Server(TypedDict):
    """The server on this node."""

    active: str  # as systemd has it; "inactive" if there is no such unit; "activating" until it has a quorum
    enabled: str
    needs_daemon_reload: bool
    started_s: float | None
    now_s: float
    files: dict[str, FileState]  # those asked for; of secrets the digest only
    process: Process
    certificate: str | None  # SHA-256 of the certificate on the disk, hex
    served_certificate: str | None  # of the one that the listener shows
    certificate_ends_at: str | None  # UTC, ISO 8601
    members: dict[str, MemberApi]
    drives: dict[str, DriveState]


DOWN: MemberApi = {"answers": False, "writes": False, "reads": False, "spare": False, "healing": 0}


def asking(members: Mapping[str, str], port: int) -> str:
    """Shell text that asks every member: `api NAME CODE CODE CODE CODE HEALING`, in the order of HEALTH."""
    limits = f"--connect-timeout {CONNECT_TIMEOUT_S} --max-time {ANSWER_TIMEOUT_S}"
    wanted = r"%{http_code} %header{x-minio-server-status} %header{x-minio-healing-drives}\n"
    curl = f"curl --silent --fail-early --noproxy '*' {limits} --cacert {TRUST} --write-out '{wanted}'"
    targets = " ".join(f'--output /dev/null "$2/{path}"' for path in HEALTH)
    ask = f'ask() {{ {curl} {targets} 2>/dev/null | sed "s/^/api\\t$1\\t/"; echo "asked\t$1"; }}'
    asked = [
        f"ask {shlex.quote(name)} {shlex.quote(f'https://{at}:{port}/minio/health')}" for name, at in members.items()
    ]
    # Together: one that hangs keeps nobody waiting. A line is written at once, so they do not mix.
    return "; ".join(["command -v curl >/dev/null || echo 'no curl'", ask, f"{' & '.join(asked)} & wait"])


def asking_sets(members: Mapping[str, str], port: int) -> str:
    """Shell text that prints `set NAME METRIC`, a line a metric of the sets' drives, from every member's metrics."""
    limits = f"--connect-timeout {CONNECT_TIMEOUT_S} --max-time {ANSWER_TIMEOUT_S}"
    curl = f"curl --silent --fail --noproxy '*' {limits} --cacert {TRUST}"
    pattern = f"'^{SETS}_\\(online\\|healing\\)_drives{{'"
    ask = f'sets() {{ {curl} "$2" 2>/dev/null | grep {pattern} | sed "s/^/set\\t$1\\t/"; }}'
    urls = {name: f"https://{at}:{port}/minio/v2/metrics/cluster" for name, at in members.items()}
    asked = [f"sets {shlex.quote(name)} {shlex.quote(url)}" for name, url in urls.items()]
    return f"{ask}; {' & '.join(asked)} & wait"


def members_of(output: Sequence[str]) -> dict[str, MemberApi]:
    """What `asking` printed, by member. Without curl nobody was asked: before the first run has installed it."""
    rows = [line.split("\t") for line in output if line.startswith(("api\t", "asked\t"))]
    said = {row[1]: [other[2].split(" ") for other in rows if other[:2] == ["api", row[1]]] for row in rows}
    return {name: _member(answers) for name, answers in sorted(said.items())}


def _member(answers: list[list[str]]) -> MemberApi:
    if len(answers) != len(HEALTH):
        return DOWN  # it refused the first, or hung in one
    codes = [code for code, *_ in answers]
    return {
        "answers": codes[0] == "200" and answers[0][1] != "offline",
        "writes": codes[1] == "200",
        "reads": codes[2] == "200",
        "spare": codes[3] == "200",
        "healing": int(answers[3][2] or 0),
    }


_METRIC = re.compile(rf"{SETS}_(online|healing)_drives{{(.*)}} (\S+)")
_LABEL = re.compile(r'(pool|set)="(\d+)"')


def sets_of(output: Sequence[str]) -> dict[str, dict[str, SetHealth]]:
    """What `asking_sets` printed: {member: {"POOL/SET": health}}, of those members that answered."""
    found: dict[str, dict[str, SetHealth]] = {}
    for line in output:
        kind, _, rest = line.partition("\t")
        name, _, metric = rest.partition("\t")
        if kind != "set" or not (said := _METRIC.fullmatch(metric)):
            continue
        labels = dict(_LABEL.findall(said[2]))
        number = int(float(said[3]))
        one = found.setdefault(name, {}).setdefault(f"{labels['pool']}/{labels['set']}", {"online": 0, "healing": 0})
        one["online" if said[1] == "online" else "healing"] = number
    return dict(sorted(found.items()))


class Health(TypedDict):
    """What a gate waits for."""

    active: str  # this node's unit
    members: dict[str, MemberApi]
    sets: dict[str, dict[str, SetHealth]]  # {member that answered: {"POOL/SET", from 0: as it sees it}}


class Members(FactBase[Health | Unknown]):
    """How all of `members` {name: address} do, and how they see the sets, asked from this node."""

    @override
    @staticmethod
    def default() -> Health | Unknown:
        return UNKNOWN

    @override
    def command(self, members: Mapping[str, str], port: int) -> str:
        return "; ".join(
            (f"echo active=$(systemctl is-active {UNIT})", asking(members, port), asking_sets(members, port))
        )

    @override
    def process(self, output: list[str]) -> Health | Unknown:
        active = next((line.partition("=")[2] for line in output if line.startswith("active=")), "")
        return {"active": active, "members": members_of(output), "sets": sets_of(output)}


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
        mounts: Sequence[str],
    ) -> str:
        properties = ",".join(PROPERTIES + STARTS)
        return "; ".join(
            (
                f"date +now=%s.%N && systemctl show --timestamp=us+utc --property={properties} -- {UNIT} || exit 1",
                reading(files),
                reading(unread_files, content=False),
                _process(),
                *_certificates(f"{members[node]}:{port}"),
                asking(members, port),
                reading_drives(mounts).strip(),
            )
        )

    @override
    def process(self, output: list[str]) -> Server | Unknown:
        values = {name: value for name, _, value in (line.partition("=") for line in output if line[:1] != "/")}
        try:
            active, enabled, needs_reload = (values[name] for name in PROPERTIES)
            now = float(values["now"])
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"cannot read what systemctl show said of {UNIT}: {error!r}") from error
        if "no curl" in output and active == "active":
            raise FactProcessError(f"cannot ask {UNIT} how it does: found no curl; install the package again")
        files = dict(parsed(line) for line in output if line.startswith("/"))
        drives = drives_of(output)
        others = {*STARTED_WITH.values(), *map(folder_of, drives)}
        return {
            "active": active,
            "enabled": enabled,
            "needs_daemon_reload": needs_reload == "yes",
            "started_s": _started(values),
            "now_s": now,
            "files": {path: one for path, one in files.items() if path not in others},
            "process": _process_of(values, files),
            "certificate": _fingerprint(values.get("disk-sha256 Fingerprint")),
            "served_certificate": _fingerprint(values.get("served-sha256 Fingerprint")),
            "certificate_ends_at": _end(values.get("disk-notAfter")),
            "members": members_of(output),
            "drives": drives,
        }


def _process() -> str:
    """What the server runs from, and digests of what it was given: its variables hold names of files, no secrets.

    Its copies of the configuration are systemd's, made when it was started. An interpreter's child is no server.
    """
    copies = [STARTED_WITH[path] for path in (ROOT_PASSWORD, KMS_KEY)]
    return (
        f"pid=$(systemctl show --value --property=MainPID {UNIT}); "
        'if [ "${pid:-0}" -gt 0 ] && exe=$(readlink "/proc/$pid/exe"); then echo "exe=$exe"; '
        "env=$(tr '\\0' '\\n' < \"/proc/$pid/environ\" | grep '^MINIO_' | LC_ALL=C sort | sha256sum); "
        'echo "environment=${env%% *}"; '
        f"{reading([STARTED_WITH[LAYOUT]])}; {reading(copies, content=False)}; fi"
    )


def _process_of(values: Mapping[str, str], files: Mapping[str, FileState]) -> Process:
    copies = {path: files.get(copy) for path, copy in STARTED_WITH.items()}
    layout = copies[LAYOUT]
    return {
        "binary": values.get("exe"),
        "environment": values.get("environment"),
        "layout": layout["content"] if layout else None,
        "files": {path: copy["sha256"] if copy else None for path, copy in copies.items()},
    }


def _certificates(endpoint: str) -> Iterator[str]:
    """The certificate on the disk (never its key) and the one that is served, as `disk-…=` and `served-…=` lines."""
    show = f"{WITHOUT_AUTHORITIES} openssl x509 -noout -fingerprint -sha256 -enddate 2>/dev/null"
    yield f"! test -e {CERTIFICATE} || {show} < {CERTIFICATE} | sed 's/^/disk-/'"
    ask = f"openssl s_client -connect {shlex.quote(endpoint)} </dev/null 2>/dev/null"
    served = f"{WITHOUT_AUTHORITIES} timeout {ANSWER_TIMEOUT_S} {ask}"
    yield f"{served} | {show} | sed 's/^/served-/'"


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
