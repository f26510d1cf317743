"""Snapshots of OpenBao that a server keeps."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.openbao import DATA_FOLDER
from unterbau.domain.unknown import UNKNOWN, Unknown

FOLDER = f"{DATA_FOLDER}/snapshots"
SERVICE = "openbao-snapshot.service"
LATER_S = 3600  # a name from further ahead than this is of a clock that was wrong


class Snapshots(TypedDict):
    """What is kept on this server."""

    newest_at: str | None  # UTC, ISO 8601; None if there is none
    newest_age_s: float | None
    count: int
    last_run: str  # of the service, in systemd's words: inactive (it ended well, or never ran), failed, activating
    data_age_s: float | None  # how long the server has had data; None if it has none


class Kept(FactBase[Snapshots | Unknown]):
    """The newest snapshot and how the last run ended, in one command."""

    @override
    @staticmethod
    def default() -> Snapshots | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        raft = f"{DATA_FOLDER}/raft"
        return (
            f"date +now=%s && echo last_run=$(systemctl show --property=ActiveState --value -- {SERVICE}) && "
            f"if test -d {FOLDER}; then find {FOLDER} -maxdepth 1 -type f -name '*.snap' -printf 'snap=%f\\n'; fi && "
            f"if test -d {raft}; then stat --printf='born=%W\\nchanged=%Y\\n' {raft}; fi"
        )

    @override
    def process(self, output: list[str]) -> Snapshots | Unknown:
        rows = [line.partition("=") for line in output]
        values = {name: value for name, _, value in rows}
        try:
            now = float(values["now"])
            taken = [moment for name, _, file in rows if name == "snap" and (moment := _moment(file)) is not None]
            newest = max((one for one in taken if one <= now + LATER_S), default=None)
            since = float(values.get("born") or 0) or float(values.get("changed") or 0) or None
            return {
                "newest_at": None if newest is None else f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%dT%H:%M:%SZ}",
                "newest_age_s": None if newest is None else max(0.0, now - newest),
                "count": len(taken),
                "last_run": values["last_run"],
                "data_age_s": None if since is None else now - since,
            }
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"cannot read what snapshots there are: {error!r}; found {output[:3]}") from error


def _moment(name: str) -> float | None:
    """When a snapshot of this name was taken; None if that is no name of ours."""
    if not re.fullmatch(r"\d{8}T\d{6}Z\.snap", name):
        return None
    return datetime.strptime(name, "%Y%m%dT%H%M%SZ.snap").replace(tzinfo=UTC).timestamp()
