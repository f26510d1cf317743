"""A MinIO server as it was found and as it should be: what changes together, what alone, and what must not."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import HiddenValue
from pyinfra.context import ctx_host

from facts.minio import ENVIRONMENT, KMS_KEY, LAYOUT, ROOT_PASSWORD, TRUST, UNIT, MemberApi, State
from facts.minio import Server as Found
from operations import config_file, service
from operations.config_file import Wanted
from operations.minio_config import (
    KEY_NAME,
    Server,
    environment,
    environment_digest,
    layout_yaml,
    malformed,
    pools_of,
    unit_text,
)
from unterbau.domain.unknown import Unknown
from unterbau.secrets.errors import StoreError

UNIT_FILE = f"{service.UNIT_FOLDER}{UNIT}"
KEYS_RULE = "object storage keeps the key of its data"
POOLS_RULE = "pools of object storage are only appended"
TOGETHER_RULE = "object storage is not interrupted"
RUNS = ("active", "reloading", "activating")


@dataclass(frozen=True)
class Ready:
    """A server that can be converged: what was found, and what its files should be."""

    server: Server
    found: Found
    wanted: dict[str, Wanted]

    @property
    def runs(self) -> bool:
        """Whether there is a process, ready or not; what prepares its start is none."""
        return self.found["active"] in RUNS and self.found["process"]["binary"] is not None

    @property
    def member(self) -> MemberApi:
        """What this server answers."""
        return self.found["members"][self.server.node]

    @property
    def cluster_serves(self) -> bool:
        """Whether anybody answers reads, as this node sees it."""
        return any(one["reads"] for one in self.found["members"].values())

    @property
    def apart(self) -> list[str]:
        """What the running process has and the declaration has not, of that which all must change at once."""
        process = self.found["process"]
        is_now = {
            LAYOUT: pools_of(process["layout"] or "") == pools_of(self.wanted[LAYOUT].text),
            ENVIRONMENT: process["environment"] == environment_digest(self.server),
            ROOT_PASSWORD: process["files"][ROOT_PASSWORD] == self.wanted[ROOT_PASSWORD].sha256,
            KMS_KEY: process["files"][KMS_KEY] == self.wanted[KMS_KEY].sha256,
        }
        return [path for path, same in is_now.items() if not same] if self.runs else []

    @property
    def older(self) -> str | None:
        """Why the process is older than what one server may have before the others. From state alone."""
        if self.found["process"]["binary"] != self.server.binary:
            return f"it is {self.found['process']['binary'] or 'no server yet'}"
        if self.found["files"][UNIT_FILE]["sha256"] != self.wanted[UNIT_FILE].sha256:
            return "its unit changes"
        if self.found["needs_daemon_reload"]:
            return "its unit file is newer"
        return self._newer(UNIT_FILE)

    @property
    def older_roots(self) -> str | None:
        """Why the process does not know the roots of the disk: it reads them when it starts."""
        return self._newer(TRUST)

    def _newer(self, path: str) -> str | None:
        ctime = self.found["files"][path]["ctime_s"] or 0
        return f"{path} is newer" if (self.found["started_s"] or 0) < ctime <= self.found["now_s"] else None

    @property
    def starts(self) -> str | None:
        """Why it is started, or restarted together with others, without waiting for its turn; None if it is not."""
        if not self.runs:
            return "it does not run"
        if self.apart:
            return f"{self.apart[0]} changes"
        return None if self.cluster_serves else self.older or self.older_roots


_read: WeakKeyDictionary[object, Found | Unknown] = WeakKeyDictionary()


def _found(server: Server) -> Found | Unknown:
    """Read once a host while the plan is made, where two operations ask; anew whenever one is carried out."""
    if getattr(host.state, "is_executing", False):
        return _state(server)
    here = ctx_host.get()
    if here not in _read:
        _read[here] = _state(server)
    return _read[here]


def _state(server: Server) -> Found | Unknown:
    return host.get_fact(
        State,
        node=server.node,
        members=dict(server.members),
        port=server.port,
        files=[LAYOUT, ENVIRONMENT, UNIT_FILE],
        unread_files=[ROOT_PASSWORD, KMS_KEY, TRUST],
        mounts=server.mounts,
    )


def ready_of(server: Server, root: HiddenValue, kms_key: HiddenValue) -> Ready | str:
    """The server as it was found and should be; a sentence if it cannot be converged."""
    where = f"cannot converge MinIO on {server.node}"
    if sentence := malformed(server):
        return f"{where}: {sentence}"
    found = _found(server)
    if isinstance(found, Unknown):
        return f"{where}: its state could not be read; see the error above"
    try:
        wanted = {
            LAYOUT: Wanted(layout_yaml(server)),
            ENVIRONMENT: Wanted(environment(server)),
            ROOT_PASSWORD: Wanted(root, "400", exact=True),
            KMS_KEY: Wanted(HiddenValue(f"{KEY_NAME}:{kms_key.unmask()}"), "400", exact=True),
            UNIT_FILE: Wanted(unit_text(server)),
        }
    except (StoreError, ValueError) as error:
        return f"{where}: {error}"
    return config_file.obstacle({path: found["files"][path] for path in wanted}) or Ready(server, found, wanted)


def forbidden(ready: Ready, restart_together: bool) -> dict[str, str | None]:
    """{rule: why it refuses; None if it does not}."""
    has_data = any(one["format"] for one in ready.found["drives"].values())
    interrupted = ready.apart and ready.cluster_serves and not restart_together
    asked = "allow it with restart_together=True in object_storage, apply, and take that out again"
    return {
        KEYS_RULE: _other_key(ready) if has_data else None,
        POOLS_RULE: _edited_pools(ready) if has_data else None,
        TOGETHER_RULE: f"{interruption(ready)}; {asked}" if interrupted else None,
    }


def interruption(ready: Ready) -> str:
    """What it costs to change what all must have at once."""
    count = len(ready.server.members)
    return f"{', '.join(ready.apart)} must change on {count} of {count} servers at once: none answers for some seconds"


def _other_key(ready: Ready) -> str | None:
    wanted = ready.wanted[KMS_KEY].sha256
    process = ready.found["process"]["files"][KMS_KEY]
    known = {KMS_KEY: ready.found["files"][KMS_KEY]["sha256"], "what the server runs with": process}
    other = [place for place, digest in known.items() if digest not in (None, wanted)]
    if not other:
        return None
    return (
        f"{other[0]} is another key than the store's, and what is on the drives opens with no other: if it was rotated"
        " in the store, set the version before again (`unterbau secrets reveal NAME --version N --env ENV | unterbau"
        " secrets set NAME --env ENV`); if this is not the store that the cluster was made with, put that one back; if"
        f" {KMS_KEY} was changed by hand, remove it"
    )


def _edited_pools(ready: Ready) -> str | None:
    """Pools that are there stay as they are, in their order. Source: MinIO, cmd/erasure-server-pool.go."""
    live = ready.found["process"]["layout"] or ready.found["files"][LAYOUT]["content"]
    before, declared = pools_of(live or ""), pools_of(ready.wanted[LAYOUT].text) or []
    if before is None or declared[: len(before)] == before:
        return None
    kept = sum(1 for old, new in zip(before, declared, strict=False) if old == new)
    return (
        f"{kept} of the {len(before)} pools that hold data are declared as they are, {len(declared)} are declared;"
        f" declare those of {LAYOUT} again, in their order, and append a new one"
    )
