"""The lab's cloud as a service of this host: begun in the background, found again by its control group, taken away."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import unterbau
from unterbau.lab.cgroup import Group
from unterbau.lab.cloud import balancing, filtering, kept, nspawn
from unterbau.lab.errors import LabError
from unterbau.lab.layout import CLOUD_PORT, Lab
from unterbau.lab.process import answers, start

TOKEN = "hcloud/token"  # the secret in the lab's store  # noqa: S105
TOKEN_CHARACTERS = 64  # as Hetzner's have
_ANSWERS_WITHIN_S = 60


@dataclass(frozen=True)
class State:
    """What there is of the cloud: state is running, down (what it keeps is there) or absent."""

    state: str
    endpoint: str
    servers: int
    public: str


def group(lab: Lab) -> Group:
    """The control group of the process that answers."""
    return Group(f"{lab.group}/cloud")


def there(lab: Lab) -> bool:
    """Whether the lab has a cloud, in service or not."""
    return lab.cloud.exists()


def is_up(lab: Lab) -> bool:
    """Whether it answers, its rules are in place, and every server that should run does."""
    return (
        there(lab)
        and group(lab).populated()
        and answers(lab.cloud_address, CLOUD_PORT, timeout_s=1)
        and filtering.is_on(lab)
        and all(nspawn.runs(lab, server) for server in kept.all_of(lab) if server.on)
    )


def state(lab: Lab) -> State:
    """What there is of it."""
    word = "absent"
    if there(lab):
        word = "running" if answers(lab.cloud_address, CLOUD_PORT, timeout_s=1) else "down"
    return State(word, lab.cloud_endpoint, sum(1 for _ in kept.all_of(lab)), str(lab.public))


def up(lab: Lab, rootfs: Path) -> list[str]:
    """Have it answer, and its servers run; what was put in place. The lab's network is up, and its store is there."""
    if is_up(lab):
        return []
    for folder in (lab.cloud, lab.cloud / "machines"):
        folder.mkdir(mode=0o700, exist_ok=True)
    made = ["token"] if _ensure_token(lab) else []
    group(lab).kill()  # one that answers no more, or whose servers have to be booted
    _serve(lab, rootfs)
    return [*made, "cloud"]


def _serve(lab: Lab, rootfs: Path) -> None:
    log, package = lab.cloud / "log", Path(unterbau.__file__).parents[1]
    command = ("env", f"PYTHONPATH={package}", sys.executable, "-m", "unterbau.lab.cloud.serve", str(rootfs))
    start(group(lab), command, log=log, controllers=False)
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while not answers(lab.cloud_address, CLOUD_PORT, timeout_s=0.5):
        if not group(lab).populated() or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines()[-4:]
            raise LabError(f"cannot start the lab's cloud: {' | '.join(said) or 'it said nothing'}; look at {log}")
        time.sleep(0.02)


def _ensure_token(lab: Lab) -> bool:
    """The store's token is the cloud's; a new one if there is none. Whether anything was written."""
    from unterbau.secrets.store import New, Store  # noqa: PLC0415  # a cloud that is up pays for no import of this

    store, file = Store(lab.store, lab.identity), lab.cloud / "token"
    now = store.read().current(TOKEN)
    token = now.value if now else secrets.token_hex(TOKEN_CHARACTERS // 2)
    if now is None:
        store.commit([New(TOKEN, token, 0, datetime.now(UTC))])
    if file.exists() and file.read_text() == token:
        return False
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(token)
    return True


def down(lab: Lab) -> bool:
    """Take it away with all its servers; whether there was anything."""
    was_there = there(lab) or group(lab).unified.exists() or filtering.is_on(lab)
    group(lab).kill()
    group(lab).remove()
    for path in sorted((lab.cloud / "machines").glob("*")):
        nspawn.remove(lab, int(path.name))
    filtering.remove(lab)
    if there(lab):
        shutil.rmtree(lab.cloud)
    balancing.unplace(lab)
    return was_there


def names(lab: Lab) -> set[str]:
    """What its servers are called."""
    return {server.name for server in kept.all_of(lab)}
