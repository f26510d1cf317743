"""What the SSH server of a node really does: its files, the values in force, and whether it runs with them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypedDict

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from facts.guard import left_command
from unterbau.domain.unknown import UNKNOWN, Unknown

SSHD_CONFIG = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/00-unterbau.conf"

# sshd's own answer, for root as it comes in now and for somebody nobody wrote a Match block for
PRINCIPALS = {
    "root": "user=root,host=$from,addr=$from",
    "anybody": "user=nobody,host=invalid.invalid,addr=192.0.2.1",
}


class SshServer(TypedDict):
    """One node's SSH server. `effective` is None, and `error` says why, if sshd cannot read its configuration."""

    drop_in: FileState
    settings: list[tuple[str, str]]  # (file, line) of the other files, no comments, sshd_config first
    effective: dict[str, dict[str, list[str]]] | None  # principal -> keyword in small letters -> values
    error: str | None
    enabled: bool  # at the next boot, by its service or its socket
    socket_ports: list[str] | None  # where ssh.socket listens for it; None if the server listens itself
    outdated: bool  # the running server is older than a configuration file
    guard_left: bool  # an interrupted run left a change that was neither proven nor reverted


def effective_command(keywords: Iterable[str]) -> str:
    """Shell text that prints `effective PRINCIPAL KEYWORD VALUE` lines for these keywords, or fails as sshd does."""
    wanted = shlex.quote("^(" + "|".join(sorted(keyword.lower() for keyword in keywords)) + ") ")
    asked = "".join(
        f'answer=$(/usr/sbin/sshd -T -C "{connection}" 2>&1) || {{ echo "$answer" | sed "s/^/error /"; exit 0; }}\n'
        f"found=$(printf '%s\\n' \"$answer\" | grep -E {wanted}) || exit 1\n"
        f"printf '%s\\n' \"$found\" | sed 's/^/effective {principal} /'\n"
        for principal, connection in PRINCIPALS.items()
    )
    return f"from=${{SSH_CONNECTION:-127.0.0.1}}; from=${{from%% *}}\n{asked}"


class State(FactBase[SshServer | Unknown]):
    """The state of the SSH server as far as these `keywords` of sshd_config go."""

    @override
    @staticmethod
    def default() -> SshServer | Unknown:
        return UNKNOWN

    @override
    def command(self, keywords: Iterable[str]) -> str:
        return (
            f"{left_command('ssh-server')}\n"
            f"printf 'file '; {reading([DROP_IN])}\n"
            f'for f in {SSHD_CONFIG} /etc/ssh/sshd_config.d/*.conf; do test "$f" = {DROP_IN} || ! test -f "$f" || '
            "sed -n '/^[[:space:]]*\\(#\\|$\\)/d; s|^|setting '\"$f\"' |p' \"$f\" || exit 1; done\n"
            f"find {SSHD_CONFIG} /etc/ssh/sshd_config.d -name '.*' -prune -o -printf 'changed %C@\\n' || exit 1\n"
            "date +'now %s.%N'\n"
            # not straight into pipes: there, a failure would look like a node without units
            "units=$(systemctl show --timestamp=us+utc -p Id,ActiveState,UnitFileState,ExecMainStartTimestamp,Listen "
            "ssh.service ssh.socket) || exit 1; printf '%s\\n' \"$units\" | sed 's/^/unit /'\n"
            f"(\n{effective_command(keywords)})"
        )

    @override
    def process(self, output: list[str]) -> SshServer | Unknown:
        said: dict[str, list[str]] = {}
        for line in output:
            subject, _, rest = line.partition(" ")
            said.setdefault(subject, []).append(rest)
        try:
            return _state(said)
        except (KeyError, IndexError, ValueError) as error:
            raise FactProcessError(f"cannot read the state of the SSH server: {error!r}") from error


def _state(said: dict[str, list[str]]) -> SshServer:
    units = _units(said["unit"])
    service, socket = units["ssh.service"], units["ssh.socket"]
    changed = [float(seconds) for seconds in said["changed"]]
    error = "\n".join(said["error"]) if "error" in said else None
    return {
        "drop_in": parsed(said["file"][0])[1],
        "settings": [_split(line) for line in said.get("setting", [])],
        "effective": None if error is not None else _effective(said["effective"]),
        "error": error,
        "enabled": "enabled" in (service["UnitFileState"], socket["UnitFileState"]),
        "socket_ports": sorted(_ports(socket)) if socket["ActiveState"] == "active" else None,
        "outdated": service["ActiveState"] == "active" and _outdated(service, changed, float(said["now"][0])),
        "guard_left": said["guard"][0] == "left",
    }


def _outdated(service: dict[str, str], changed: list[float], now: float) -> bool:
    """A file from the future (the clock was set back since) says nothing: no restart could ever be newer than it."""
    started = _seconds(service["ExecMainStartTimestamp"])
    return any(started < seconds <= now for seconds in changed)


def _split(line: str) -> tuple[str, str]:
    first, _, rest = line.partition(" ")
    return first, rest.strip()


def _effective(lines: list[str]) -> dict[str, dict[str, list[str]]]:
    values: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        principal, keyword, value = line.split(" ", 2)
        values.setdefault(principal, {}).setdefault(keyword, []).append(value)
    return values


def _units(lines: list[str]) -> dict[str, dict[str, str]]:
    blocks: list[dict[str, str]] = [{}]
    for line in lines:
        if line:
            name, _, value = line.partition("=")
            blocks[-1][name] = f"{blocks[-1][name]} {value}" if name in blocks[-1] else value
        else:
            blocks.append({})
    return {block["Id"]: block for block in blocks}


def _ports(socket: dict[str, str]) -> set[str]:
    """Of `Listen=0.0.0.0:22 (Stream)` and `Listen=[::]:22 (Stream)`: 22."""
    return {word.rpartition(":")[2] for word in socket["Listen"].split() if not word.startswith("(")}


def _seconds(timestamp: str) -> float:
    """`Fri 2026-11-20 21:14:00.123456 UTC`, as systemd writes it, in seconds since 1970."""
    moment = datetime.strptime(timestamp.partition(" ")[2], "%Y-%m-%d %H:%M:%S.%f UTC")
    return moment.replace(tzinfo=UTC).timestamp()
