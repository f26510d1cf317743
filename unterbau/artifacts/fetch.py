"""From the lock file to the store: each source in its order, until one gives exactly the pinned file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from unterbau.artifacts.errors import ArtifactError, SourceError
from unterbau.artifacts.lock import Artifact, lock_path
from unterbau.artifacts.obtain import Attempt, obtain
from unterbau.artifacts.source import FileSource, Source
from unterbau.artifacts.store import ContentStore, Staged

MIRROR = "UNTERBAU_ARTIFACTS_MIRROR"


def fetch(artifact: Artifact, say: Callable[[str], None], store: ContentStore | None = None) -> bool:
    """Have it in the store, verified; whether anything had to be fetched. Raises ArtifactError with every reason."""
    store = store or ContentStore()
    if store.find(artifact) is not None:
        return False
    with store.locked(artifact, lambda: say(f"waiting for another run that fetches {artifact}")):
        if store.find(artifact) is not None:  # the other run had it meanwhile
            return False
        _from_somewhere(artifact, store, say)
    return True


def sources_of(artifact: Artifact) -> Iterator[Source]:
    """The mirror of this machine, if there is one, then those of the lock file. Raises ArtifactError."""
    mirror = os.environ.get(MIRROR)
    if mirror:
        if not os.path.isabs(mirror):  # noqa: PTH117  # it is text, not a path yet
            raise ArtifactError(f"cannot use {MIRROR} {mirror!r}: not a place of its own; use an absolute path")
        yield FileSource(kind="file", path=mirror)
    yield from artifact.sources


def _from_somewhere(artifact: Artifact, store: ContentStore, say: Callable[[str], None]) -> None:
    reasons = []
    for source in sources_of(artifact):
        say(f"fetching {artifact} from {source}")
        try:
            with store.staging(artifact) as work:
                staged = Staged(work / "binary", artifact.size_bytes)
                obtain(source, Attempt(artifact, staged, work))
                store.keep(artifact, staged)
                return
        except SourceError as error:
            reasons.append(f"  {source}: {error}")
    raise ArtifactError(
        f"cannot fetch {artifact} ({artifact.size_bytes} bytes, sha256 {artifact.sha256}); every source was tried:\n"
        + "\n".join(reasons)
        + f"\nput the file at DIR/sha256/{artifact.sha256} and set {MIRROR}=DIR, or correct {lock_path()}"
    )
