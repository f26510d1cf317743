"""Kernel parameters: running values and the file for the next boot are both state."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.sysctl import Values, dotted
from operations import config_file
from operations.config_file import Commands, Wanted
from unterbau import changes
from unterbau.domain.unknown import Unknown

PATH = "/etc/sysctl.d/99-unterbau.conf"  # after 99-sysctl.conf, which is Debian's link to /etc/sysctl.conf
FORWARDING, REDIRECTS = "net.ipv4.ip_forward", "net.ipv4.conf.all.accept_redirects"


def by_effect(parameters: Mapping[str, int | str]) -> dict[str, str]:
    """{dotted key: value}, sorted, but forwarding first: the kernel resets other values when it changes."""
    wanted = {dotted(key): " ".join(str(value).split()) for key, value in parameters.items()}
    return dict(sorted(wanted.items(), key=lambda item: (item[0] != FORWARDING, item[0])))


def differing(present: Mapping[str, str | None], wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of `wanted` to be set. With forwarding the kernel sets redirects: off when it goes on, on when it goes off.

    Source: Linux net/ipv4/devinet.c, inet_forward_change.
    """
    present = dict(present)
    if REDIRECTS in wanted and FORWARDING in wanted and present.get(FORWARDING) != wanted[FORWARDING]:
        present[REDIRECTS] = "0" if wanted[FORWARDING] == "1" else "1"
    return {key: value for key, value in wanted.items() if present.get(key, "") != value}


def conf(parameters: Mapping[str, str]) -> str:
    """The file, a line as sysctl prints it for each key."""
    lines = [f"{key} = {value}" for key, value in parameters.items()]
    return "\n".join(["# Declared in group data (kernel); changes made here are undone.", *lines, ""])


def set_and_check(parameters: Mapping[str, str], path: str) -> StringCommand:
    """Set running values and read them back: the kernel rounds some. Prints those that differ from `path`."""
    pairs = " ".join(shlex.quote(f"{key}={value}") for key, value in parameters.items())
    keys = " ".join(map(shlex.quote, parameters))
    check = f"! sysctl -- {keys} | tr -s '\\t' ' ' | grep -vxF -f {shlex.quote(path)} >&2"
    return StringCommand(f"sysctl --write -- {pairs} && {check}")


@operation()
def values(parameters: Mapping[str, int | str], *, path: str = PATH) -> Commands:
    """These kernel parameters have these values, now and after a boot.

    A key that the kernel does not have yet may come with a module of an earlier operation; if it does not come, its
    command fails.

    Args:
        parameters: {key: value}, keys as in sysctl.d(5).
        path: the file that sets them at boot; it is ours alone.
    """
    wanted = by_effect(parameters)
    state = host.get_fact(Values, keys=list(wanted), path=path)
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot set kernel parameters on {host.name}: they could not be read; see above")
        return
    if sentence := config_file.obstacle({path: state["file"]}):
        yield from changes.refuse(sentence)
        return
    commands = config_file.converge(path, state["file"], Wanted(conf(wanted)) if wanted else None)
    to_set = differing(state["values"], wanted)
    for key, value in to_set.items():
        changes.attribute(key, state["values"].get(key, ""), value)
    if to_set:
        commands.append(set_and_check(to_set, path))
    if not commands:
        host.noop(f"{len(wanted)} kernel parameters have their values, now and in {path}")
    yield from commands
