"""Pinned binaries on nodes: fetched by the operator's machine, pushed over SSH, verified there, replaced at once."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress

from pyinfra import host, logger
from pyinfra.api import FileUploadCommand, FunctionCommand, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State as RunState
from typing_extensions import override

from facts.artifact import STAMP, ArtifactState, State
from unterbau import changes
from unterbau.artifacts import Artifact, ArtifactError
from unterbau.artifacts.store import ContentStore
from unterbau.domain.unknown import Unknown

FOLDER = "/opt/unterbau"
MODES = {"0755": "755", "0711": "711"}  # {as it is asked for: as `find` says it}
SPARE_BYTES = 16 << 20  # what a node's other work gets while a binary is put there

Commands = Generator[PyinfraCommand, None, None]


def path_of(artifact: Artifact) -> str:
    """Where it is on every node: another file is another path, so that units name exactly one."""
    return f"{FOLDER}/{artifact.name}/{_version(artifact)}/{artifact.name}"


@operation()
def installed(artifact: Artifact, mode: str = "0755") -> Commands:
    """This node has the binary: exactly the pinned file, of root, in folders that only root can write.

    `mode` is 0755, or 0711 for a program that its own account may run and not read. With it goes every version but the
    one before, unless a process runs from it. Nothing is fetched before the operation is executed.
    """
    if mode not in MODES:
        raise ValueError(f"cannot install {artifact} with mode {mode!r}: use one of {', '.join(MODES)}")
    state = host.get_fact(State, path=path_of(artifact))
    if isinstance(state, Unknown):
        sentence = f"cannot install {artifact} on {host.name}: its state could not be read; see the error above"
        yield from changes.refuse(sentence)
        return
    if (obstacle := _obstacle(artifact, state)) is not None:
        yield from changes.refuse(obstacle)
        return
    if state["kind"] != "file" or state["sha256"] != artifact.sha256:
        yield from _install(artifact, mode, state)
    elif unsettled := _unsettled(mode, state):
        for subject, (old, new) in unsettled.items():
            changes.attribute(f"{path_of(artifact)} {subject}", old, new)
        yield StringCommand(_settling(artifact, mode))
    else:
        host.noop(f"{artifact} is installed and verified")


def _version(artifact: Artifact) -> str:
    return f"{artifact.version}-{artifact.sha256[:12]}"


def _obstacle(artifact: Artifact, state: ArtifactState) -> str | None:
    where = f"cannot install {artifact} on {host.name}"
    if state["architecture"] != artifact.architecture:
        return f"{where}: it is for {artifact.architecture}, the node is {state['architecture']}; pin one for it"
    if state["kind"] in ("directory", "other"):
        return f"{where}: found a {state['kind']} at {path_of(artifact)}; move it away"
    return None


def _unsettled(mode: str, state: ArtifactState) -> dict[str, tuple[str | None, str]]:
    """{subject: (old, new)} of what is wrong about the right file."""
    wanted = {
        "owner": (state["owner"], "root:root"),
        "mode": (state["mode"], MODES[mode]),
        "verification": ("recorded" if state["recorded"] else None, "recorded"),
    }
    return {subject: (old, new) for subject, (old, new) in wanted.items() if old != new}


def _install(artifact: Artifact, mode: str, state: ArtifactState) -> Commands:
    before = None if state["kind"] == "absent" else f"{state['kind']} {state['sha256'] or ''}".strip()
    size = f"{artifact.size_bytes / 2**20:.1f} MiB"
    changes.attribute(path_of(artifact), before, f"file {artifact.sha256}, {size}{_closed(mode)}")
    outdated = _outdated(_version(artifact), state)
    for version in outdated:
        unfinished = state["versions"][version] is None
        changes.attribute(f"{FOLDER}/{artifact.name}/{version}", "unfinished" if unfinished else "installed", None)
    upload = posixpath.join(posixpath.dirname(path_of(artifact)), ".upload")
    yield FunctionCommand(_fetching(artifact), (str(artifact),), {})
    yield StringCommand(_preparing(artifact, upload))
    yield Upload(artifact, upload)
    yield StringCommand(_placing(artifact, mode, upload))
    for version in outdated:
        yield StringCommand(_removing(f"{FOLDER}/{artifact.name}/{version}"))


def _closed(mode: str) -> str:
    return ", execute only" if mode == "0711" else ""


def _outdated(wanted: str, state: ArtifactState) -> list[str]:
    """Folders to remove, by name: neither wanted, nor the newest other one, nor in use."""
    whole = {name: since for name, since in state["versions"].items() if since is not None and name != wanted}
    kept = {wanted, *state["running"], *sorted(whole, key=lambda name: whole[name])[-1:]}
    return sorted(name for name in state["versions"] if name not in kept)


def _fetching(artifact: Artifact) -> Callable[..., bool]:
    """What the operator's machine does first: an artifact that cannot be had changes nothing on any node."""

    def fetch_artifact(state: RunState, host: Host, _shown: str) -> bool:  # noqa: ARG001  # pyinfra wants it
        from unterbau.artifacts.fetch import fetch  # noqa: PLC0415  # an HTTP client: a plan does without

        try:
            fetch(artifact, lambda line: host.log(line, logger.info))
        except ArtifactError as error:
            host.log_styled(str(error), fg="red", log_func=logger.error)
            return False
        return True

    return fetch_artifact


class Upload(FileUploadCommand):
    """SFTP as the account that logged in, into a folder of its own; what a failed one leaves there is removed."""

    def __init__(self, artifact: Artifact, folder: str) -> None:
        super().__init__(str(artifact), f"{folder}/{artifact.name}")
        self._artifact, self._folder = artifact, folder

    @override
    def execute(self, state: RunState, host: Host, connector_arguments: Mapping[str, object]) -> bool:
        sent = False
        try:
            sent = bool(host.put_file(str(ContentStore().path_of(self._artifact)), self.dest))
        except OSError as error:
            raise OSError(
                f"cannot upload {self._artifact} to {host.name}: {error}; the usual reason is a full disk:"
                f" see `df {FOLDER}` there"
            ) from error
        finally:
            if not sent:
                with suppress(Exception):  # a connection that is gone: the next run removes it
                    remove = StringCommand(f"rm -rf {shlex.quote(self._folder)}")
                    host.run_shell_command(remove, **connector_arguments)
        return sent


def _folders(artifact: Artifact) -> str:
    """Shell text: the folders there are, closed; so is whatever was open before."""
    target = path_of(artifact)
    chain = [FOLDER, f"{FOLDER}/{artifact.name}", posixpath.dirname(target)]
    return f"install -d -m 755 -o root -g root {' '.join(map(shlex.quote, chain))}"


def _preparing(artifact: Artifact, upload: str) -> str:
    """Shell text: room enough, and an empty folder that only the account that logs in can write.

    What another account than root uploads is copied before it is verified: that account could still change it.
    """
    folder, place = shlex.quote(posixpath.dirname(path_of(artifact))), shlex.quote(upload)
    full = shlex.quote(f"cannot install {artifact}: %d MiB free in {FOLDER}, it takes %d; make room there\\n")
    return (
        f"set -e; {_folders(artifact)}; rm -rf {place}; need={artifact.size_bytes}; "
        f'[ "${{SUDO_UID:-0}}" = 0 ] || need=$((need * 2)); need=$((need + {SPARE_BYTES})); '
        f"free=$(df --output=avail -B1 {folder} | tail -n 1); "
        f'if [ "$free" -lt "$need" ]; then printf {full} $((free >> 20)) $((need >> 20)) >&2; exit 1; fi; '
        f'install -d -m 700 -o "${{SUDO_UID:-0}}" {place}'
    )


def _placing(artifact: Artifact, mode: str, upload: str) -> str:
    """Shell text: what was uploaded becomes the binary if it is the pinned file, else it goes and nothing changes."""
    folder, name = posixpath.split(path_of(artifact))
    return (
        f"set -e; up={shlex.quote(upload)}; new={shlex.quote(f'{folder}/.{name}.new')}; "
        'trap \'rm -rf "$new" "$up"\' EXIT; '
        f'if [ "${{SUDO_UID:-0}}" = 0 ]; then mv -fT "$up"/{shlex.quote(name)} "$new"; '
        f'else cp -T "$up"/{shlex.quote(name)} "$new"; fi; '
        f'chown root:root "$new"; chmod {MODES[mode]} "$new"; {_verifying(artifact)}; sync "$new"; '
        f'mv -fT "$new" {shlex.quote(path_of(artifact))}; {_recording(artifact)}; sync {shlex.quote(folder)}'
    )


def _settling(artifact: Artifact, mode: str) -> str:
    """Shell text: the right file, closed, and only then verified: before that anybody might have written to it."""
    return (
        f"set -e; new={shlex.quote(path_of(artifact))}; {_folders(artifact)}; "
        f'chown root:root "$new"; chmod {MODES[mode]} "$new"; {_verifying(artifact)}; {_recording(artifact)}'
    )


def _verifying(artifact: Artifact) -> str:
    wanted = shlex.quote(artifact.sha256)
    wrong = shlex.quote(f"cannot install {artifact}: found sha256 %s, not %s; apply again\\n")
    return (
        'found=$(sha256sum < "$new"); found=${found%% *}; '
        f'[ "$found" = {wanted} ] || {{ printf {wrong} "$found" {wanted} >&2; exit 1; }}'
    )


def _recording(artifact: Artifact) -> str:
    target = path_of(artifact)
    stamp = posixpath.join(posixpath.dirname(target), STAMP)
    new = shlex.quote(f"{stamp}.new")
    return (
        f"umask 077; seen=$(find {shlex.quote(target)} -maxdepth 0 -printf '%i %s %C@'); "
        f'echo {shlex.quote(artifact.sha256)} "$seen" > {new}; mv -fT {new} {shlex.quote(stamp)}'
    )


def _removing(folder: str) -> str:
    """Shell text: asked once more, a service may have been started from it since the plan."""
    inside = shlex.quote(f"{folder}/")
    return f"readlink /proc/[0-9]*/exe | grep -qF -- {inside} || rm -rf {shlex.quote(folder)}"
