"""Values of Secrets stay on this side: what leaves is a keyed hash of each, and what comes in is encoded here."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

from unterbau.domain.kubernetes_object import HASHED, Manifest, Ref, hash_purpose
from unterbau.secrets.hidden import Hidden

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # the whole object, values and all, in clear
NOT_SHOWN = "(not shown)"

KeyedHash = Callable[[str, str], str]  # (purpose, text)


def is_secret(manifest: Manifest) -> bool:
    """Whether an object's data are to be hidden."""
    return bool(manifest.get("apiVersion") == "v1" and manifest.get("kind") == "Secret")


def masked(found: dict[str, Any], cluster: str, keyed_hash: KeyedHash) -> dict[str, Any]:
    """An object as it may be shown; only Secrets differ."""
    if not is_secret(found):
        return found
    data = {
        key: HASHED + keyed_hash(hash_purpose(cluster, Ref.of(found), key), _decoded(text))
        for key, text in (found.get("data") or {}).items()
    }
    metadata = dict(found.get("metadata") or {})
    notes = metadata.get("annotations") or {}
    if LAST_APPLIED in notes:
        metadata["annotations"] = {**notes, LAST_APPLIED: NOT_SHOWN}
    return {**found, "metadata": metadata, **({"data": data} if "data" in found else {})}


def encoded(manifest: dict[str, Any]) -> dict[str, Any]:
    """A Secret's values, which commands carry as they are, as the API wants them."""
    if not is_secret(manifest):
        return manifest
    return {**manifest, "data": {key: _base64(text) for key, text in (manifest.get("data") or {}).items()}}


def comparable(
    manifest: dict[str, Any], found: Mapping[str, Any] | None, cluster: str, keyed_hash: KeyedHash
) -> dict[str, Any]:
    """A Secret that is declared by keyed hashes, for a dry run: the found value where the hash is its own, else any.

    Any is a JSON object: some types of Secrets take nothing else.
    """
    if not is_secret(manifest):
        return manifest
    there = (found or {}).get("data") or {}
    hashes = masked(dict(found or {}), cluster, keyed_hash).get("data") or {}
    data = {
        key: there[key] if hashes.get(key) == wanted else _base64(json.dumps({secrets.token_hex(): {}}))
        for key, wanted in (manifest.get("data") or {}).items()
    }
    return {**manifest, "data": data}


def _base64(text: str) -> str:
    encoded_text = b64encode(text.encode()).decode()
    Hidden(encoded_text)  # an API that quotes what it refuses quotes this
    return encoded_text


def _decoded(text: str) -> str:
    """What is no text has another hash than any text."""
    return b64decode(text).decode(errors="backslashreplace")
