"""Pinned binaries: where each may come from, its checksum, and the local store that nodes are served from."""

from unterbau.artifacts.errors import ArtifactError
from unterbau.artifacts.lock import Artifact, artifact

__all__ = ["Artifact", "ArtifactError", "artifact"]
