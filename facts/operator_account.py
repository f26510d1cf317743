"""Who may log in: the operators' accounts, keys and rights as they are on a node, and whether root has a password."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TypedDict

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown

GROUP = "unterbau-operators"  # the mark: its members are ours
KEYS_DIR = "/etc/ssh/authorized_keys.d"
SUDOERS = "/etc/sudoers.d/unterbau-operators"


class Account(TypedDict):
    """One account. The password itself never leaves the node."""

    shell: str
    password: str  # locked, set, or empty
    expires: str  # days since 1970 as text; "" for never


class OperatorAccounts(TypedDict):
    """All that decides who may log in."""

    root_password: str  # locked, set, or empty
    members: list[str] | None  # of GROUP; None if there is no such group
    accounts: dict[str, Account]  # of those asked for and of the members; those that don't exist are missing
    key_names: list[str]  # whose key files there are
    files: dict[str, FileState]  # SUDOERS and the key files of those asked for


def keys_path(name: str) -> str:
    """Where sshd finds an operator's keys."""
    return f"{KEYS_DIR}/{name}"


class State(FactBase[OperatorAccounts | Unknown]):
    """The state of these accounts, and of those that are ours already."""

    @override
    @staticmethod
    def default() -> OperatorAccounts | Unknown:
        return UNKNOWN

    @override
    def command(self, names: Sequence[str]) -> str:
        return (
            f'set -e\nif group=$(getent group {GROUP}); then echo "group $group"; else test $? = 2; group=:::; fi\n'
            f"set -- root {' '.join(map(shlex.quote, names))} $(echo \"$group\" | cut -d: -f4 | tr , ' ')\n"
            # not straight into pipes: there, a failure would look like an absence
            'found=$(getent passwd "$@") || test $? = 2\n'
            'printf \'%s\\n\' "$found" | awk -F: \'{ print "account " $1 ":" $7 }\'\n'
            'found=$(getent shadow "$@") || test $? = 2\n'
            'printf \'%s\\n\' "$found" | awk -F: \'{ p = $2 == "" ? "empty" : $2 ~ /^[!*]/ ? "locked" : "set"; '
            'print "password " $1 ":" p ":" $8 }\'\n'
            f"! test -d {KEYS_DIR} || find {KEYS_DIR} -mindepth 1 ! -name '.*' -printf 'keys %P\\n'\n"
            f"files=$({reading([SUDOERS, *map(keys_path, names)])}); printf '%s\\n' \"$files\" | sed 's/^/file /'"
        )

    @override
    def process(self, output: list[str]) -> OperatorAccounts | Unknown:
        said: dict[str, list[str]] = {"group": [], "account": [], "password": [], "keys": [], "file": []}
        try:
            for line in output:
                subject, _, rest = line.partition(" ")
                said[subject].append(rest)
            return _state(said)
        except (KeyError, IndexError, ValueError) as error:
            raise FactProcessError(f"cannot read the state of the operators' accounts: {error!r}") from error


def _state(said: dict[str, list[str]]) -> OperatorAccounts:
    passwords = dict(_fields(line) for line in said["password"])
    shells = dict(_fields(line) for line in said["account"])
    del shells["root"]
    return {
        "root_password": passwords["root"][0],
        "members": sorted(filter(None, said["group"][0].split(":")[3].split(","))) if said["group"] else None,
        "accounts": {
            name: {"shell": shell[0], "password": passwords[name][0], "expires": passwords[name][1]}
            for name, shell in sorted(shells.items())
        },
        "key_names": sorted(said["keys"]),
        "files": dict(parsed(line) for line in said["file"]),
    }


def _fields(line: str) -> tuple[str, list[str]]:
    name, *rest = line.split(":")
    return name, rest
