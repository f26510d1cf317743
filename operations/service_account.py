"""Accounts that services run as: no password, no shell, no other group."""

from __future__ import annotations

import re
import shlex

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.service_account import ServiceAccount, State
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown

NO_SHELL = "/usr/sbin/nologin"
SYSTEM_UID_MAX = 999  # Source: Debian Policy 9.2.2


@operation()
def present(account: str, home: str) -> Commands:
    """There is a system account `account` with a group of its name, which nobody can log in to.

    Args:
        account: name of the account and of its group.
        home: its home, which is not made here.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", account):
        yield from changes.refuse(f"cannot make an account on {host.name}: found {account!r}, which is no name of one")
        return
    state = host.get_fact(State, account=account)
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot make account {account} on {host.name}: could not read accounts; see above")
        return
    if state["exists"]:
        if (sentence := _obstacle(account, state)) is not None:
            yield from changes.refuse(sentence)
            return
        commands = _corrected(account, home, state)
        if not commands:
            host.noop(f"{account} is a service's account")
        yield from commands
        return
    changes.attribute(f"account {account}", None, "present")
    group = f"--gid {shlex.quote(account)}" if state["has_group"] else "--user-group"
    yield StringCommand(
        f"useradd --system {group} --home-dir {shlex.quote(home)} --no-create-home --shell {NO_SHELL} -- {account}"
    )


def _obstacle(name: str, state: ServiceAccount) -> str | None:
    """A person's account must not become a service's, nor the other way round."""
    if (state["uid"] or 0) > SYSTEM_UID_MAX or state["uid"] == 0 or state["group"] != name:
        found = f"an account with the number {state['uid']} and the group {state['group']}"
        return f"cannot use {name} on {host.name} for a service: found {found}; remove or rename it"
    return None


def _corrected(name: str, home: str, state: ServiceAccount) -> list[StringCommand]:
    found = (
        ("home", state["home"], home, f"--home {shlex.quote(home)}"),
        ("shell", state["shell"], NO_SHELL, f"--shell {NO_SHELL}"),
        ("password", "locked" if state["password_locked"] else "set", "locked", "--password '!'"),
        ("other groups", ", ".join(state["other_groups"]) or None, None, "--groups ''"),
    )
    commands = []
    for subject, old, new, option in found:
        if old != new:
            changes.attribute(f"account {name} {subject}", old, new)
            commands.append(StringCommand(f"usermod {option} -- {name}"))
    return commands
