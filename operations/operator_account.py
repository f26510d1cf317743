"""Operators' accounts: those declared, with exactly the keys declared, and no password that opens anything."""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from pyinfra import host
from pyinfra.api.command import PyinfraCommand, QuoteString, StringCommand
from pyinfra.api.operation import operation

from facts.operator_account import GROUP, SUDOERS, OperatorAccounts, State, keys_path
from operations import config_file
from operations.config_file import Wanted
from unterbau import changes
from unterbau.domain.unknown import Unknown

SHELL = "/bin/bash"
HEADER = "# Written by unterbau: what is changed here by hand is undone by the next apply.\n"


class Operator(NamedTuple):
    """One account, as it should be."""

    name: str
    authorized_keys: Sequence[str]
    sudo: bool


@operation()
def exactly(operators: Sequence[Operator], connected_as: str) -> Generator[PyinfraCommand, None, None]:
    """These operators have accounts, keys and sudo as given; others that were ours are withdrawn; root has no password.

    A withdrawn account is locked, expired, stripped of keys and sudo, and its processes are ended. It is not deleted:
    its number must not come to name another person in logs and on files.

    Args:
        connected_as: the account that this run logs in as; it keeps what it has.
    """
    wanted = [Operator(*operator) for operator in operators]
    malformed = _malformed(wanted)
    if malformed is not None:
        yield from changes.refuse(malformed)
        return
    state = host.get_fact(State, names=[operator.name for operator in wanted])
    if isinstance(state, Unknown):
        yield from changes.refuse(
            f"cannot change the operators of {host.name}: could not read them; see the error above"
        )
        return
    obstacle = config_file.obstacle(state["files"]) or _cut_off(state, wanted, connected_as)
    if obstacle is not None:
        yield from changes.refuse(obstacle)
        return
    commands = [
        *_group(state),
        *(command for operator in wanted for command in (*_account(state, operator.name), *_keys(state, operator))),
        *_sudoers(state, wanted),
        *(command for name in _withdrawn(state, wanted) for command in _withdraw(state, name)),
        *_password("root", state["root_password"]),
    ]
    if not commands:
        host.noop(f"the operators are {', '.join(operator.name for operator in wanted) or 'none'}")
    yield from commands


def _malformed(operators: Iterable[Operator]) -> str | None:
    """sudoers and authorized_keys have no quoting that would hold: a name is plain, a key is one line."""
    for name, keys, _sudo in operators:
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", name):
            return (
                f"cannot make an account on {host.name}: found {name!r}, which is no account's name; correct operators"
            )
        if any(not key.isprintable() for key in keys):
            return f"cannot write the keys of {name} on {host.name}: found a key of several lines; correct operators"
    return None


def _cut_off(state: OperatorAccounts, operators: Sequence[Operator], connected_as: str) -> str | None:
    """Why this run would end its own connection, as a sentence; None if it would not."""
    sudoers = (state["files"][SUDOERS]["content"] or "").splitlines()
    has_sudo = _sudo_rule(connected_as) in sudoers
    if connected_as in _withdrawn(state, operators):
        loss = f"withdraw {connected_as}"
    elif has_sudo and any(name == connected_as and not sudo for name, _keys, sudo in operators):
        loss = f"take sudo from {connected_as}"
    else:
        return None
    return (
        f"cannot {loss} on {host.name}: found that this run logs in as {connected_as} itself;"
        " declare another ssh_user, apply, then try again"
    )


def _group(state: OperatorAccounts) -> list[StringCommand]:
    if state["members"] is not None:
        return []
    changes.attribute(f"group {GROUP}", None, "present")
    return [StringCommand("groupadd --system", QuoteString(GROUP))]


def _account(state: OperatorAccounts, name: str) -> list[StringCommand]:
    """Commands for the account itself, without its keys."""
    account = state["accounts"].get(name)
    if account is None:
        changes.attribute(f"operator {name}", None, "present")
        return [
            StringCommand(
                "useradd --create-home --gid users --shell", SHELL, "--groups", GROUP, "--password '*' --",
                QuoteString(name),
            )
        ]  # fmt: skip
    commands = _password(name, account["password"])
    for subject, old, new, option in (
        ("group", _marked(state, name), GROUP, f"--append --groups {GROUP}"),
        ("shell", account["shell"], SHELL, f"--shell {SHELL}"),
        ("expires", account["expires"] or "never", "never", "--expiredate ''"),
    ):
        if old != new:
            changes.attribute(f"operator {name} {subject}", old, new)
            commands.append(StringCommand("usermod", option, "--", QuoteString(name)))
    return commands


def _marked(state: OperatorAccounts, name: str) -> str | None:
    return GROUP if name in (state["members"] or []) else None


def _password(name: str, found: str) -> list[StringCommand]:
    """`*` and not `!`: sshd without PAM turns away an account whose password starts with `!`, key or no key."""
    if found == "locked":
        return []
    changes.attribute(f"password of {name}", found, "locked")
    return [StringCommand("usermod --password '*' --", QuoteString(name))]


def _keys(state: OperatorAccounts, operator: Operator) -> list[StringCommand]:
    path = keys_path(operator.name)
    text = HEADER + "".join(f"{key}\n" for key in operator.authorized_keys)
    return config_file.converge(path, state["files"][path], Wanted(text))


def _sudoers(state: OperatorAccounts, operators: Iterable[Operator]) -> list[StringCommand]:
    names = [operator.name for operator in operators if operator.sudo]
    rules = "".join(f"{_sudo_rule(name)}\n" for name in names)
    wanted = Wanted(HEADER + rules, mode="440", validate="visudo --check --quiet --file")
    return config_file.converge(SUDOERS, state["files"][SUDOERS], wanted if names else None)


def _sudo_rule(name: str) -> str:
    return f"{name} ALL=(ALL:ALL) NOPASSWD: ALL"


def _withdrawn(state: OperatorAccounts, operators: Iterable[Operator]) -> list[str]:
    return sorted({*(state["members"] or []), *state["key_names"]} - {operator.name for operator in operators})


def _withdraw(state: OperatorAccounts, name: str) -> list[StringCommand]:
    """The mark goes last: a run that is interrupted here is taken up again by the next one."""
    changes.attribute(f"operator {name}", "present", "withdrawn")
    commands = [StringCommand("rm -f --", QuoteString(keys_path(name)))]
    if name in state["accounts"]:
        processes = f"$(find /proc -mindepth 1 -maxdepth 1 -user {shlex.quote(name)} -name '[1-9]*' -printf '%f ')"
        commands += [
            StringCommand("usermod --lock --expiredate 1 --", QuoteString(name)),
            StringCommand(f"for process in {processes}; do kill -KILL $process || true; done"),
        ]
    if _marked(state, name):
        commands.append(StringCommand("gpasswd --delete", QuoteString(name), GROUP))
    return commands
