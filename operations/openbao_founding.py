"""The first start of a cluster: on one node, once, and started over if it was cut short."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from pyinfra import host, inventory
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import PyinfraError

from facts.openbao import DATA_FOLDER, FOUNDING, UNIT, USER, Data
from facts.openbao import Server as Found
from operations.openbao_config import (
    FOUNDING_FOLDER,
    FOUNDING_UNIT,
    Server,
    founding_unit_text,
    initialize_json,
    server_hcl,
)
from unterbau.domain.unknown import Unknown


def is_founder(server: Server) -> bool:
    """Whether this node is the one that would found the cluster: the first member by the inventory's order."""
    return server.node == next(iter(server.members))


def founds(server: Server, found: Found) -> bool | str:
    """Whether this node has to found the cluster now; a sentence if that cannot be told.

    Only if no member has data: a founder whose disk was lost joins the others like any other member. What an
    unfinished initialisation left is no data: nobody could reach that server, let alone join it.
    """
    if not is_founder(server) or belongs(found):
        return False
    others = [name for name in server.members if name != server.node]
    if any(found["api"][name]["initialized"] for name in others if name in found["api"]):
        return False
    answers = [_has_data(name) for name in others]
    return next((said for said in answers if isinstance(said, str)), not any(answers))


def belongs(found: Found) -> bool:
    """Whether this node's data are those of a cluster."""
    return found["has_data"] and not found["founding"]


def _has_data(name: str) -> bool | str:
    """Whether another member has data on its disk; a sentence if it cannot be asked."""
    other = next((one for one in inventory if one.data.get("node") and one.data.node.name == name), None)
    try:
        found = None if other is None else other.get_fact(Data)
    except (PyinfraError, OSError) as error:
        found = None
        reason = str(error)
    else:
        reason = "see the error above"
    if found is None or isinstance(found, Unknown):
        return (
            f"cannot initialise OpenBao on {host.name}: whether {name} has data of a cluster could not be read"
            f" ({reason}); bring {name} back, then apply again"
        )
    return found["has_data"] and not found["founding"]


FORGET = (
    f"systemctl stop {UNIT} {FOUNDING_UNIT} 2>/dev/null || true; "
    f"rm -rf {DATA_FOLDER}/raft {DATA_FOLDER}/vault.db && rm -f {FOUNDING}"
)  # what an initialisation left on a node whose cluster was founded elsewhere since


def commands(server: Server, policy: str, deployers: str) -> Iterator[StringCommand]:
    """Initialise, and leave a server that has never been reachable from outside and runs no more.

    Nothing here is secret: the seal's key lies on the node already, the root token never leaves the server.
    """
    files = {
        f"{FOUNDING_FOLDER}/server.hcl": server_hcl(server, founding=True),
        f"{FOUNDING_FOLDER}/initialize.json": initialize_json(policy, deployers),
        f"/run/systemd/system/{FOUNDING_UNIT}": founding_unit_text(server),
    }
    yield StringCommand(f"install -d -m 750 -o root -g {USER} {FOUNDING_FOLDER}; install -d /run/systemd/system")
    for path, text in files.items():
        yield StringCommand("umask 022; cat >", shlex.quote(path), _stdin=text)
    yield StringCommand(script(list(files)))


def script(files: Sequence[str]) -> str:
    """The shell text of it. Killed anywhere, it leaves the mark: then the next one throws the data away and repeats.

    The mark is on the disk before the first byte of data is, and goes only after the server has told systemd that it
    is ready, which it does when every request is answered and its root token revoked, and has stopped.
    """
    return f"""\
set -eu
mkdir -p {shlex.quote(_folder(FOUNDING))}; cd /
exec 9> {FOUNDING}.lock; flock -w 180 9
if test -e {FOUNDING}; then
  systemctl stop {FOUNDING_UNIT} {UNIT} 2>/dev/null || true
  rm -rf {DATA_FOLDER}/raft {DATA_FOLDER}/vault.db
elif test -e {DATA_FOLDER}/raft/raft.db && grep -qaF CurrentTerm {DATA_FOLDER}/raft/raft.db; then
  exit 0  # what an earlier run had begun came to its end meanwhile
else
  systemctl stop {UNIT} 2>/dev/null || true
  rm -rf {DATA_FOLDER}/raft {DATA_FOLDER}/vault.db
  : > {FOUNDING}; sync {FOUNDING} {_folder(FOUNDING)}
fi
systemctl daemon-reload
systemctl start {FOUNDING_UNIT} || {{ journalctl --no-pager --lines=20 -u {FOUNDING_UNIT} >&2; exit 1; }}
systemctl stop {FOUNDING_UNIT}
sync -f {DATA_FOLDER}
rm -f {FOUNDING}; sync {_folder(FOUNDING)}
rm -f {" ".join(files)}; systemctl daemon-reload"""


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
