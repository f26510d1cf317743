"""The S3 gateway on a node: Debian's HAProxy, our files for it, and what it runs with."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.certificate import BUNDLE, HANDSHAKE_S, WITHOUT_AUTHORITIES, path_of
from facts.service import State as Unit
from facts.service import UnitState
from unterbau.domain.unknown import UNKNOWN, Unknown

UNIT = "haproxy.service"
USER = "haproxy"  # Debian's
CONFIG = "/etc/haproxy/haproxy.cfg"
DROP_IN = "/etc/systemd/system/haproxy.service.d/unterbau.conf"
LEAF = path_of("s3-gateway")
BACKEND = "members"
RUNTIME_FOLDER = "/run/s3-gateway"
SOCKET = f"{RUNTIME_FOLDER}/admin.sock"
STATS_SOCKET = f"{RUNTIME_FOLDER}/statistics.sock"
TICKS = 100  # a second, in /proc/PID/stat. Source: proc(5), sysconf(_SC_CLK_TCK) of every Linux that Debian has


class Gateway(TypedDict):
    """The gateway."""

    unit: UnitState  # with the files that were asked for
    loaded_s: float | None  # when it read its configuration last, seconds since 1970; None if it does not run
    read_s: dict[str, float]  # when what it reads beside that changed last: leaf and roots; absent ones are not there
    leaf: str | None  # SHA-256 of the certificate on the disk, hex
    served: str | None  # of the one that it shows


class MemberState(TypedDict):
    """What the gateway thinks of one member of the storage."""

    up: bool
    check: str  # what the last check said, in HAProxy's words: "L7OK 200", "L4CON", "L7STS 503"
    requests: int  # under way
    changed_s_ago: int


def newest_worker() -> str:
    """Shell text that prints when the newest worker started, in ticks since boot; nothing without one.

    HAProxy's master lives on when it reads its configuration again; its newest child is what has read it.
    """
    start = "sed 's/.*) //' /proc/$worker/stat | cut -d ' ' -f 20"
    return (
        f"main=$(systemctl show --value -p MainPID {UNIT}); "
        '[ "${main:-0}" = 0 ] || for worker in $(cat /proc/$main/task/$main/children); '
        f"do {start}; done 2>/dev/null | sort -n | tail -n 1"
    )


def _certificates(endpoint: str) -> Iterator[str]:
    """The certificate on the disk (never its key) and the one that is served, as `disk-…=` and `served-…=` lines."""
    show = f"{WITHOUT_AUTHORITIES} openssl x509 -noout -fingerprint -sha256 2>/dev/null"
    yield f"! test -e {LEAF} || {show} < {LEAF} | sed s/^/disk-/"
    served = f"{WITHOUT_AUTHORITIES} timeout {HANDSHAKE_S} openssl s_client -connect {endpoint} </dev/null 2>/dev/null"
    yield f"{served} | {show} | sed s/^/served-/"


class State(FactBase[Gateway | Unknown]):
    """The gateway that listens on `port` of 127.0.0.1, with the state of these files; in one command."""

    @override
    @staticmethod
    def default() -> Gateway | Unknown:
        return UNKNOWN

    @override
    def command(self, files: Sequence[str], port: int) -> str:
        changed = f"find {LEAF} {BUNDLE} -maxdepth 0 -printf 'read=%p %C@\\n' 2>/dev/null; true"
        # Both clocks at one moment: what is asked before them may take seconds on a busy node.
        clocks = "read -r up _ < /proc/uptime; date +clock=%s.%N; echo up=$up"
        loaded = f"{clocks}; {newest_worker()} | sed s/^/loaded=/"
        parts = (changed, *_certificates(f"127.0.0.1:{int(port)}"), loaded)
        return "; ".join((Unit().command(UNIT, files) + " || exit 1", *parts))

    @override
    def process(self, output: list[str]) -> Gateway | Unknown:
        unit = Unit().process(output)
        if isinstance(unit, Unknown):
            return UNKNOWN
        said = [line.partition("=")[::2] for line in output if line[:1] != "/"]
        values = dict(said)
        try:
            read = dict(value.rsplit(" ", 1) for name, value in said if name == "read")
            return {
                "unit": unit,
                "loaded_s": _since_1970(values),
                "read_s": {path: float(seconds) for path, seconds in read.items()},
                "leaf": _fingerprint(values.get("disk-sha256 Fingerprint")),
                "served": _fingerprint(values.get("served-sha256 Fingerprint")),
            }
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"cannot read the state of the S3 gateway: {error!r}; found {values}") from error


def _since_1970(values: dict[str, str]) -> float | None:
    if not values.get("loaded"):
        return None
    return round(float(values["clock"]) - float(values["up"]) + float(values["loaded"]) / TICKS, 2)


def _fingerprint(text: str | None) -> str | None:
    return text.replace(":", "").lower() if text else None


class Members(FactBase[dict[str, MemberState] | Unknown]):
    """{member: state} as this node's gateway sees them; UNKNOWN if it does not run."""

    @override
    @staticmethod
    def default() -> dict[str, MemberState] | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        return f"curl --silent --show-error --fail --max-time 5 --unix-socket {STATS_SOCKET} 'http://localhost/;csv'"

    @override
    def process(self, output: list[str]) -> dict[str, MemberState] | Unknown:
        rows = list(csv.DictReader(line.removeprefix("# ") for line in output))
        try:
            return {
                row["svname"]: {
                    "up": row["status"].startswith("UP"),
                    "check": f"{row['check_status']} {row['check_code']}".strip()
                    if row["check_status"] != "L7OK"
                    else "L7OK",
                    "requests": int(row["scur"]),
                    "changed_s_ago": int(row["lastchg"]),
                }
                for row in rows
                if row["pxname"] == BACKEND and row["svname"] != "BACKEND"
            }
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"cannot read what HAProxy says of its members: {error!r}") from error
