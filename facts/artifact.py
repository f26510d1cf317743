"""Binaries under /opt/unterbau: what stands at a path, whether it was verified as it is now, and what is beside it."""

from __future__ import annotations

import posixpath
import shlex
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.config_file import KINDS
from unterbau.domain.unknown import UNKNOWN, Unknown

# Written after a verification, beside the binary, readable by root only: sha256, inode, size, ctime.
STAMP = ".verified"


class ArtifactState(TypedDict):
    """One binary. Mode, owner, size and digest are None if there is none; the digest only of a file."""

    architecture: str  # of the node, in dpkg's words
    kind: str  # absent, file, directory, symlink, other
    mode: str | None
    owner: str | None  # user:group
    size_bytes: int | None
    sha256: str | None
    recorded: bool  # a stamp that nobody but root could have written says that exactly this file was hashed
    versions: dict[str, float | None]  # {folder: when its binary was put there, seconds since 1970; None without one}
    running: list[str]  # the folders that processes run from


# A file is hashed (0.6 s for 180 MB) only if its stamp says that it is another one than was hashed last.
_READ = r"""
architecture=$(dpkg --print-architecture) || exit 1
printf 'architecture\t%s\n' "$architecture"
if [ -e "$file" ] || [ -L "$file" ]; then
find "$file" -maxdepth 0 -printf 'file\t%y\t%m\t%u:%g\t%s' || exit 1
if [ -f "$file" ] && [ ! -L "$file" ]; then
now=$(find "$file" -maxdepth 0 -printf '%i %s %C@') || exit 1
closed=$(find "${top%/*}" "$top" "$folder" "$folder/{stamp}" -maxdepth 0 -user root ! -perm /022 2>/dev/null | wc -l)
stamp=$(cat "$folder/{stamp}" 2>/dev/null)
if [ "$closed" = 4 ] && [ "${stamp#* }" = "$now" ]; then printf '\trecorded\t%s' "${stamp%% *}"
else digest=$(sha256sum < "$file") && printf '\thashed\t%s' "${digest%% *}" || exit 1; fi
fi
echo
fi
for beside in "$top"/*/; do
[ -d "$beside" ] || continue
since=$(find "$beside$name" -maxdepth 0 -type f -printf '%C@' 2>/dev/null)
beside=${beside%/}; printf 'version\t%s\t%s\n' "${beside##*/}" "$since"
done
readlink /proc/[0-9]*/exe | while read -r exe; do
case $exe in "$top"/*) exe=${exe#"$top"/}; printf 'running\t%s\n' "${exe%%/*}";; esac
done
""".replace("{stamp}", STAMP)


class State(FactBase[ArtifactState | Unknown]):
    """The binary at `path`, /opt/unterbau/<name>/<version>/<name>, and the other versions of it."""

    @override
    @staticmethod
    def default() -> ArtifactState | Unknown:
        return UNKNOWN

    @override
    def command(self, path: str) -> str:
        folder, name = posixpath.split(path)
        names = {"file": path, "folder": folder, "top": posixpath.dirname(folder), "name": name}
        return " ".join(f"{name}={shlex.quote(value)};" for name, value in names.items()) + _READ.rstrip("\n")

    @override
    def process(self, output: list[str]) -> ArtifactState | Unknown:
        rows = [line.split("\t") for line in output]
        try:
            [architecture] = [row[1] for row in rows if row[0] == "architecture"]
            versions = {name: float(since) if since else None for _, name, since in _of("version", rows)}
            file = _file(_of("file", rows))
        except (ValueError, IndexError) as error:
            raise FactProcessError(f"cannot read the state of an artifact: {error}; found {output[:3]}") from error
        return {
            "architecture": architecture,
            **file,
            "versions": versions,
            "running": sorted({row[1] for row in _of("running", rows)}),
        }


class _File(TypedDict):
    kind: str
    mode: str | None
    owner: str | None
    size_bytes: int | None
    sha256: str | None
    recorded: bool


def _of(kind: str, rows: list[list[str]]) -> list[list[str]]:
    return [row for row in rows if row[0] == kind]


def _file(rows: list[list[str]]) -> _File:
    if not rows:
        return {"kind": "absent", "mode": None, "owner": None, "size_bytes": None, "sha256": None, "recorded": False}
    _, letter, mode, owner, size, *digest = rows[0]
    return {
        "kind": KINDS.get(letter, "other"),
        "mode": mode,
        "owner": owner,
        "size_bytes": int(size),
        "sha256": digest[1] if digest else None,
        "recorded": digest[:1] == ["recorded"],
    }
