"""What stands where a configuration file should be: kind, mode, owner, digest, text."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterable
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown

KINDS = {"f": "file", "d": "directory", "l": "symlink"}


class FileState(TypedDict):
    """One path. All but `exists` and `kind` are None if it is absent; digest and content only of a file."""

    exists: bool
    kind: str  # absent, file, directory, symlink, other
    mode: str | None  # octal, as chmod takes it: "644"
    user: str | None
    group: str | None
    ctime_s: float | None  # when content, mode or owner changed last, seconds since 1970
    sha256: str | None
    content: str | None  # None as well if it was not asked for, or is not UTF-8


ABSENT: FileState = {
    "exists": False, "kind": "absent", "mode": None, "user": None, "group": None,
    "ctime_s": None, "sha256": None, "content": None,
}  # fmt: skip


def reading(paths: Iterable[str], content: bool = True) -> str:
    """Shell text that prints one line a path: path, kind letter, mode, user, group, ctime, base64 or sha256.

    Base64, because a line of text does not say whether the last newline is there, nor survives other encodings.
    """
    body = (
        'printf base64:; base64 -w0 < "$f"'
        if content
        else 'digest=$(sha256sum < "$f") && printf \'sha256:%s\' "${digest%% *}"'
    )
    return (
        f"for f in {' '.join(map(shlex.quote, paths))}; do "
        'if [ -e "$f" ] || [ -L "$f" ]; then '
        r"""find "$f" -maxdepth 0 -printf '%p\t%y\t%m\t%u\t%g\t%C@\t' || exit 1; """
        f'if [ -f "$f" ] && [ ! -L "$f" ]; then {body} || exit 1; fi; echo; '
        r"""else printf '%s\tabsent\n' "$f"; fi; done"""
    )


def parsed(line: str) -> tuple[str, FileState]:
    """One line of `reading` -> (path, state)."""
    fields = line.split("\t")
    if fields[1:] == ["absent"]:
        return fields[0], ABSENT
    try:
        path, letter, mode, user, group, ctime, body = fields
        seconds = float(ctime)
        data = base64.b64decode(body[7:], validate=True) if body.startswith("base64:") else None
    except ValueError as error:  # binascii.Error is one
        raise FactProcessError(f"cannot read the state of a file from {fields[0]!r}: {error}") from error
    digest = hashlib.sha256(data).hexdigest() if data is not None else body.removeprefix("sha256:")
    return path, {
        "exists": True,
        "kind": KINDS.get(letter, "other"),
        "mode": mode,
        "user": user,
        "group": group,
        "ctime_s": seconds,
        "sha256": digest or None,
        "content": None if data is None else _text(data),
    }


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


class State(FactBase[FileState | Unknown]):
    """What is at `path`; with `content=False` the node never sends the content, only its digest."""

    @override
    @staticmethod
    def default() -> FileState | Unknown:
        return UNKNOWN

    @override
    def command(self, path: str, content: bool = True) -> str:
        return reading([path], content)

    @override
    def process(self, output: list[str]) -> FileState | Unknown:
        return parsed(output[0])[1]
