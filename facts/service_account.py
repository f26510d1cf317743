"""Accounts that services run as: number, group, home, shell, password."""

from __future__ import annotations

import shlex
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown


class ServiceAccount(TypedDict):
    """One account and the group of its name, as getent has them."""

    exists: bool
    has_group: bool
    uid: int | None
    group: str | None  # its primary group's name
    home: str | None
    shell: str | None
    password_locked: bool | None
    other_groups: list[str]


class State(FactBase[ServiceAccount | Unknown]):
    """The account `account`."""

    @override
    @staticmethod
    def default() -> ServiceAccount | Unknown:
        return UNKNOWN

    @override
    def command(self, account: str) -> str:
        # getent: 0 found, 2 not there; anything else is a failure and must not look like an absence
        quoted = shlex.quote(account)
        asked = (("passwd", "$row"), ("group", "$row"), ("shadow", '${row:+$(echo "$row" | cut -d: -f2 | cut -c1)}'))
        ask = " && ".join(
            f'{{ row=$(getent {table} {quoted}); c=$?; [ $c -eq 0 ] || [ $c -eq 2 ]; }} && echo "{table} {said}"'
            for table, said in asked
        )
        return f'{ask} && echo "groups $(id -Gn -- {quoted} 2>/dev/null)"'

    @override
    def process(self, output: list[str]) -> ServiceAccount | Unknown:
        rows = dict(line.split(" ", 1) for line in output)
        try:
            passwd, group = (rows[table].split(":") for table in ("passwd", "group"))
            if passwd == [""]:
                return {
                    "exists": False, "has_group": group != [""], "uid": None, "group": None, "home": None,
                    "shell": None, "password_locked": None, "other_groups": [],
                }  # fmt: skip
            _, _, uid, _, _, home, shell = passwd
            primary, *others = rows["groups"].split()
            locked = rows["shadow"] in ("!", "*")  # its first letter; the rest of it stays on the node
            return {
                "exists": True, "has_group": group != [""], "uid": int(uid), "group": primary, "home": home,
                "shell": shell, "password_locked": locked, "other_groups": sorted(others),
            }  # fmt: skip
        except (KeyError, ValueError, IndexError) as error:
            raise FactProcessError(f"cannot read an account: {error!r}; found {len(output)} lines") from error
