"""sshd: keys only, modern algorithms, by one drop-in of ours that comes first; what sshd makes of it is read back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator, Iterable, Mapping, Sequence

from pyinfra import host
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation

from facts.operator_account import GROUP, KEYS_DIR
from facts.ssh_server import DROP_IN, PRINCIPALS, SSHD_CONFIG, SshServer, State, effective_command
from operations import config_file, guard
from unterbau import changes
from unterbau.domain.unknown import Unknown

INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf"


_HEADER = "# Written by unterbau: what is changed here by hand is undone by the next apply.\n"
# An operator's keys are those in our file: a key that somebody puts into a home directory opens nothing.
_OPERATORS = f"Match Group {GROUP}\n    AuthorizedKeysFile {KEYS_DIR}/%u\n"

_FIXED = {
    "AllowGroups": f"root {GROUP}",  # elsewhere a key in a home directory would open the account
    "AuthenticationMethods": "publickey",
    "PubkeyAuthentication": "yes",
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "PermitEmptyPasswords": "no",
    "HostbasedAuthentication": "no",
    "GSSAPIAuthentication": "no",
    "UsePAM": "yes",  # sessions and limits; without it sshd turns away accounts whose password is locked
    "StrictModes": "yes",
    "AuthorizedKeysFile": ".ssh/authorized_keys",
    "PermitUserEnvironment": "no",
    "AllowAgentForwarding": "no",
    "X11Forwarding": "no",
    "PermitTunnel": "no",
    "GatewayPorts": "no",
    "MaxStartups": "60:30:200",  # many operators and CI jobs at once; the firewall keeps strangers away
    "LogLevel": "VERBOSE",  # with the fingerprint of the key that logged in
}


@operation()
def hardened(  # noqa: PLR0913, PLR0917  # plain values, so that the plan and the cases show them
    port: int,
    ciphers: Sequence[str],
    kex_algorithms: Sequence[str],
    macs: Sequence[str],
    host_key_algorithms: Sequence[str],
    max_auth_tries: int,
    login_grace_s: int,
    client_alive_s: int,
    connected_as: str,
    operators: Sequence[str],
    permit_root_login: bool = True,
) -> Generator[PyinfraCommand, None, None]:
    """Keys only and these values, in the files and in force; call it with `_serial=True`.

    Args:
        connected_as: the account that this run logs in as.
        operators: names of those who may log in, beside root.
        permit_root_login: True lets root in with a key, False not at all.
    """
    if connected_as not in ("root", *operators):
        yield from changes.refuse(
            f"cannot change sshd on {host.name}: found that this run logs in as {connected_as}, and only root and the"
            " operators may; declare it among the operators, or another ssh_user, then apply again"
        )
        return
    settings = {
        "Port": str(port),
        "PermitRootLogin": "prohibit-password" if permit_root_login else "no",
        "Ciphers": ",".join(ciphers),
        "KexAlgorithms": ",".join(kex_algorithms),
        "MACs": ",".join(macs),
        "HostKeyAlgorithms": ",".join(host_key_algorithms),
        "MaxAuthTries": str(max_auth_tries),
        "LoginGraceTime": str(login_grace_s),
        "ClientAliveInterval": str(client_alive_s),
        "ClientAliveCountMax": "3",
        **_FIXED,
    }
    yield from _converge(host.get_fact(State, keywords=sorted(settings)), settings)


def _converge(state: SshServer | Unknown, settings: Mapping[str, str]) -> Generator[PyinfraCommand, None, None]:
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot change sshd on {host.name}: could not read its state; see the error above")
        return
    obstacle = config_file.obstacle({DROP_IN: state["drop_in"]}) or _malformed(settings) or _foreign_match(state)
    reason = obstacle or (None if _ours_changes(state, settings) else _foreign(state, settings))
    if reason is not None:
        yield from changes.refuse(reason)
    elif _say_changes(state, settings):
        yield from guard.attempt(_guarded(state, settings))
    else:
        host.noop("sshd has the declared settings in force")


def drop_in_text(settings: Mapping[str, str]) -> str:
    """Our file: each keyword with its value."""
    lines = [f"{keyword} {value}\n" for keyword, value in settings.items()]
    return _HEADER + "".join(lines) + _OPERATORS


def _malformed(settings: Mapping[str, str]) -> str | None:
    """sshd_config has no quoting that would hold: a value is one word."""
    for keyword, value in settings.items():
        if value != _FIXED.get(keyword) and not re.fullmatch(r"[!-~]+", value):
            return f"cannot set sshd's {keyword} on {host.name}: found {value!r}, not one word; correct ssh_server"
    return None


def in_force(settings: Mapping[str, str]) -> dict[str, str]:
    """Keyword in small letters -> value, as `sshd -T` writes them."""
    spelled = {"prohibit-password": "without-password"}
    return {keyword.lower(): spelled.get(value, value) for keyword, value in settings.items()}


def _include_is_first(state: SshServer) -> bool:
    lines = [line for path, line in state["settings"] if path == SSHD_CONFIG]
    return lines[:1] == [INCLUDE]


def _ours_changes(state: SshServer, settings: Mapping[str, str]) -> bool:
    """Whether a text of ours is not as wanted: if it is, wrong values in force come from elsewhere."""
    return state["drop_in"]["content"] != drop_in_text(settings) or not _include_is_first(state)


def _say_changes(state: SshServer, settings: Mapping[str, str]) -> bool:
    """Whether anything differs; each difference is said once."""
    differing = [bool(config_file.converge(DROP_IN, state["drop_in"], config_file.Wanted(drop_in_text(settings))))]
    for holds, subject, old, new in (
        (_include_is_first(state), f"first line of {SSHD_CONFIG}", _first_line(state), INCLUDE),
        (state["enabled"], "ssh.service enabled", False, True),
        (
            _ours_changes(state, settings) or not state["outdated"],
            "sshd",
            "running with an older configuration",
            "restarted",
        ),
        (not state["guard_left"], "sshd change of an interrupted run", "unproven", "proven"),
    ):
        if not holds:
            changes.attribute(subject, old, new)
            differing.append(True)
    return any(differing)


def _first_line(state: SshServer) -> str | None:
    return next((line for path, line in state["settings"] if path == SSHD_CONFIG), None)


def _foreign_match(state: SshServer) -> str | None:
    """Whom a Match block means is not asked: it could set anything for somebody that we did not think of."""
    for path, line in state["settings"]:
        if line.lstrip('"').lower().startswith("match"):
            return (
                f"cannot keep sshd's settings the same for everybody on {host.name}: found {path}: {line};"
                " remove this block there, then apply again"
            )
    return None


def _foreign(state: SshServer, settings: Mapping[str, str]) -> str | None:
    """What is wrong with the values in force although our file is right, as a sentence; None if nothing is."""
    if state["effective"] is None:
        return f"cannot read the settings of sshd on {host.name}: {state['error']}; correct the file that it names"
    if state["socket_ports"] not in (None, [settings["Port"]]):
        return (
            f"cannot make sshd listen on port {settings['Port']} on {host.name}: ssh.socket is active and listens on"
            f" {', '.join(state['socket_ports'] or [])}; disable it and enable ssh.service, then apply again"
        )
    for principal, values in state["effective"].items():
        for keyword, wanted in in_force(settings).items():
            found = values.get(keyword, [])
            if found != wanted.split(" "):
                return (
                    f"cannot keep sshd's {keyword} at {wanted} on {host.name}: found {', '.join(found)} in force for"
                    f" {principal}, from {_setters(state['settings'], keyword)}; remove it there, then apply again"
                )
    return None


def _setters(settings: Iterable[tuple[str, str]], keyword: str) -> str:
    """Where other files set the keyword."""
    setting = [f"{path}: {line}" for path, line in settings if line.lower().startswith((f"{keyword} ", f"{keyword}="))]
    return " or ".join(setting) or "no line of a file that could be read"


def _guarded(state: SshServer, settings: Mapping[str, str]) -> guard.Guarded:
    steps = [
        *([] if _include_is_first(state) else [_INCLUDE_FIRST]),
        _read_back(settings),
        *([] if state["enabled"] else ["systemctl enable --quiet ssh.service"]),
        _RESTART,
        _listens(settings["Port"]),
    ]
    return guard.Guarded(
        what="ssh-server",
        files={DROP_IN: (drop_in_text(settings), "644")},
        also_saved=(SSHD_CONFIG,),
        check=_CHECK,
        activate="\n".join(steps),
        restore=_RESTART,
    )


# Ours before all that is there: a syntax error, an algorithm that this sshd does not know, a port that is taken.
_CHECK = f'{{ echo "Include $new/0"; cat {SSHD_CONFIG}; }} >"$new/whole"; /usr/sbin/sshd -t -f "$new/whole"'

_INCLUDE_FIRST = (
    f"new_config={SSHD_CONFIG}.unterbau-new; cp -a {SSHD_CONFIG} $new_config; "
    f"{{ echo '{INCLUDE}'; cat {SSHD_CONFIG}; }} >$new_config; mv -f $new_config {SSHD_CONFIG}"
)

# A restart, because it ends when the new server listens; a reload ends before. Sessions survive it (KillMode=process).
# With socket activation the socket listens, and a generator may have made it from the configuration.
_RESTART = """\
systemctl reset-failed ssh.service 2>/dev/null || true
if systemctl --quiet is-active ssh.socket
then systemctl daemon-reload; systemctl stop ssh.service; systemctl restart ssh.socket
else systemctl restart ssh.service; fi"""


def _listens(port: str) -> str:
    """Shell text that fails if nobody listens there: with socket activation sshd's Port may mean nothing."""
    failed = f"cannot make sshd listen on port {port}: nobody does after the restart; see `systemctl cat ssh.socket`"
    return f"ss -Hltn 'sport = :{port}' | grep -q . || {{ echo {shlex.quote(failed)} >&2; exit 1; }}"


def _read_back(settings: Mapping[str, str]) -> str:
    """Shell text that fails, before anything is restarted, if sshd would not use our values for every principal."""
    values = in_force(settings).items()
    wanted = "\n".join(f"{principal} {keyword} {value}" for principal in PRINCIPALS for keyword, value in values)
    return (
        f"{_NO_MATCH}\nanswer=$(\n{effective_command(settings)})\n{_COMPARE} <<'END-OF-VALUES'\n{wanted}\nEND-OF-VALUES"
    )


_NO_MATCH = f"""\
if blocks=$(grep -iHE '^[[:space:]"]*match' {SSHD_CONFIG} /etc/ssh/sshd_config.d/*.conf | grep -v ^{DROP_IN})
then echo "cannot keep sshd's settings the same for everybody: found $blocks" >&2
echo "remove this block there, then apply again" >&2; exit 1; fi"""

_COMPARE = f"""\
while read -r principal keyword value; do
found=$(echo "$answer" | sed -n "s/^effective $principal $keyword //p" | paste -s -d ' ' -)
if test "$found" != "$value"; then
echo "cannot bring sshd's $keyword to $value: found $found in force for $principal, from" >&2
grep -iHE "^[[:space:]]*$keyword[[:space:]=]" {SSHD_CONFIG} /etc/ssh/sshd_config.d/*.conf \\
| grep -v ^{DROP_IN} >&2 || true
echo "remove it there, then apply again" >&2; exit 1
fi
done"""
