"""Symbolic links to what is kept elsewhere: a new version is another target, put there at once."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.link import LinkState, States
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown

OURS = "/opt/unterbau/"  # a link that leads there is ours, so one that is no longer wanted goes


@operation()
def exactly(links: Mapping[str, str], *, folder: str = "", suffix: str = "") -> Commands:
    """Each of these links leads where it should; in `folder`, no other one leads to what we put there.

    Args:
        links: {path: target}, both absolute.
        folder: in which links of ours that are not wanted are removed; "" for none.
        suffix: what the names of those end in.
    """
    found = host.get_fact(States, paths=list(links), folder=folder, suffix=suffix)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot make links on {host.name}: they could not be read; see the error above")
        return
    foreign = [path for path in links if found[path]["kind"] == "other"]
    if foreign:
        sentence = f"cannot make the link {foreign[0]} on {host.name}: found something else there; move it away"
        yield from changes.refuse(sentence)
        return
    stale = [path for path, one in found.items() if path not in links and (one["target"] or "").startswith(OURS)]
    wrong = {path: target for path, target in links.items() if found[path]["target"] != target}
    _say(found, wrong, stale)
    if not (wrong or stale):
        host.noop("links lead where they should")
    for path, target in wrong.items():
        yield StringCommand(_command(path, target))
    for path in stale:
        yield StringCommand(f"rm -f -- {shlex.quote(path)}")


def _say(found: Mapping[str, LinkState], wrong: Mapping[str, str], stale: list[str]) -> None:
    for path, target in wrong.items():
        changes.attribute(f"link {path}", found[path]["target"], target)
    for path in stale:
        changes.attribute(f"link {path}", found[path]["target"], None)


def _command(path: str, target: str) -> str:
    """Shell text: a new link is renamed over the old one, so that there always is one."""
    folder, new = posixpath.dirname(path), posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)}.new")
    words = [shlex.quote(word) for word in (folder, target, new, path)]
    return f"mkdir -p {words[0]} && ln -sfnT -- {words[1]} {words[2]} && mv -fT -- {words[2]} {words[3]}"
