"""What can go wrong with an artifact, as sentences: cannot + object + what was found + what to do next."""

from __future__ import annotations


class ArtifactError(Exception):
    """The artifact cannot be had or kept; nothing was left half done."""


class SourceError(Exception):
    """One source did not give the file; the next one may. Only the reason: who asked names artifact and source."""
