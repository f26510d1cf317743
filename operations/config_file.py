"""Configuration files: the content travels on stdin, and a file is replaced whole or not at all."""

from __future__ import annotations

import hashlib
import posixpath
import re
import shlex
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from facts.config_file import FileState, State
from unterbau import changes
from unterbau.domain.unknown import Unknown

Commands = Generator[PyinfraCommand, None, None]


@dataclass(frozen=True)
class Wanted:
    """What a file should be. `validate` is a command that gets the new file's name as its last argument.

    `exact`: a key that a program reads byte by byte gets no newline at its end.
    """

    content: str | HiddenValue
    mode: str = "644"
    user: str = "root"
    group: str = "root"
    validate: str | None = None
    exact: bool = False

    @property
    def secret(self) -> bool:
        """Whether no line of it may be shown."""
        return isinstance(self.content, HiddenValue)

    @property
    def text(self) -> str:
        """The text as it will stand in the file: it ends with a newline, unless it is taken `exact`."""
        raw = self.content.unmask() if isinstance(self.content, HiddenValue) else self.content
        return raw if self.exact or raw.endswith("\n") else raw + "\n"

    @property
    def sha256(self) -> str:
        """Digest of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def write(path: str, wanted: Wanted) -> StringCommand:
    """Replace `path` atomically: a new file beside it, checked, synced, renamed over it.

    The length is checked because a connection that breaks looks like the end of the content. pyinfra ends standard
    input with a newline, whatever it was given: an `exact` text leaves it unread.
    """
    folder, target = shlex.quote(posixpath.dirname(path)), shlex.quote(path)
    template = shlex.quote(posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)}.XXXXXXXX"))
    length = str(len(wanted.text.encode()))
    shown = HiddenValue(length) if wanted.secret else length
    return StringCommand(
        f"set -e; mkdir -p {folder}; new=$(mktemp {template}); trap 'rm -f \"$new\"' EXIT; ",
        *(["head -c ", shown] if wanted.exact else ["cat"]), ' > "$new"; ',
        '[ "$(wc -c < "$new")" -eq ', shown, " ]; ",
        f'chown {shlex.quote(f"{wanted.user}:{wanted.group}")} "$new"; chmod {shlex.quote(wanted.mode)} "$new"; ',
        f'{wanted.validate} "$new"; ' if wanted.validate else "",
        f'sync "$new"; mv -fT "$new" {target}; sync {folder}',
        _separator="",
        _stdin=wanted.text,
    )  # fmt: skip


def obstacle(states: Mapping[str, FileState]) -> str | None:
    """Why one of these paths cannot be written, as a sentence; None if all can."""
    for path, state in states.items():
        if state["kind"] in ("directory", "other"):
            return f"cannot write {path} on {host.name}: found a {state['kind']} in its place; move it away"
    return None


def converge(path: str, state: FileState, wanted: Wanted | None) -> list[StringCommand]:
    """Say what changes at `path`, and return the commands that change it; None means absent."""
    if wanted is None:
        return _remove(path, state)
    commands = _converge_metadata(path, state, wanted) if state["kind"] == "file" else []
    if state["kind"] == "file" and state["sha256"] == wanted.sha256:
        return commands
    if state["kind"] == "symlink":
        changes.attribute(f"{path} kind", "symlink", "file")
    if state["kind"] == "file" and state["content"] is None and not wanted.secret:
        changes.attribute(f"{path} content", "not UTF-8 text", "as declared")
    else:
        old = (state["content"] or "") if state["exists"] else None
        changes.text(path, old, "" if wanted.secret else wanted.text, secret=wanted.secret)
    return [write(path, wanted)]  # which sets mode and owner too


def converge_texts(
    states: Mapping[str, FileState], files: Mapping[str, str | None]
) -> tuple[list[str], list[StringCommand]]:
    """The same for several files of root with mode 644: (paths that change, commands)."""
    found = {p: converge(p, states[p], None if text is None else Wanted(text)) for p, text in files.items()}
    return [path for path, commands in found.items() if commands], [c for commands in found.values() for c in commands]


def _converge_metadata(path: str, state: FileState, wanted: Wanted) -> list[StringCommand]:
    commands = []
    owner, wanted_owner = f"{state['user']}:{state['group']}", f"{wanted.user}:{wanted.group}"
    if owner != wanted_owner:
        changes.attribute(f"{path} owner", owner, wanted_owner)
        commands.append(StringCommand("chown", shlex.quote(wanted_owner), shlex.quote(path)))
    if state["mode"] != wanted.mode:
        changes.attribute(f"{path} mode", state["mode"], wanted.mode)
        commands.append(StringCommand("chmod", shlex.quote(wanted.mode), shlex.quote(path)))
    return commands


def _remove(path: str, state: FileState) -> list[StringCommand]:
    if not state["exists"]:
        return []
    if state["content"] is None:
        changes.attribute(path, state["kind"], None)
    else:
        changes.text(path, state["content"], None)
    return [StringCommand("rm", "-f", shlex.quote(path))]


def _one(path: str, state: FileState | Unknown, wanted: Wanted | None) -> Commands:
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot converge {path} on {host.name}: it could not be read; see the error above")
        return
    if sentence := obstacle({path: state}):
        yield from changes.refuse(sentence)
        return
    commands = converge(path, state, wanted)
    if not commands:
        host.noop(f"{path} is {'absent' if wanted is None else 'as declared'}")
    yield from commands


def octal(mode: str) -> str | None:
    """A mode as the fact has it, without zeros in front: "640" for "0640"; None if it is no octal mode."""
    return f"{int(mode, 8):o}" if re.fullmatch(r"0?[0-7]{3,4}", mode) else None


@operation()
def put(  # noqa: PLR0913  # what chmod, chown and a validator need
    path: str,
    content: str | HiddenValue,
    *,
    mode: str = "644",
    user: str = "root",
    group: str = "root",
    validate: str | None = None,
) -> Commands:
    """The file `path` has this content, mode and owner. A newline is added if the last one is missing.

    Args:
        path: absolute.
        content: text, or a HiddenValue: then the present content is not read and no line of either is shown.
        mode: octal, "640" or "0640".
        user: owner.
        group: owning group.
        validate: a command that gets the new file's name as its last argument; if it fails, nothing is replaced.
    """
    plain_mode = octal(mode)
    if plain_mode is None:
        sentence = f"cannot put {path}: found the mode {mode!r}; write an octal one such as 640"
        yield from changes.refuse(sentence)
        return
    wanted = Wanted(content, plain_mode, user, group, validate)
    yield from _one(path, host.get_fact(State, path=path, content=not wanted.secret), wanted)


@operation()
def absent(path: str, *, secret: bool = False) -> Commands:
    """There is no file `path`.

    Args:
        path: absolute.
        secret: it may hold one: its content is not read and no line of it is shown.
    """
    yield from _one(path, host.get_fact(State, path=path, content=not secret), None)
