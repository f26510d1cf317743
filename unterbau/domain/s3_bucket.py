"""Settings of a bucket as S3 spells them, in one form: what is declared, what an engine answers, and what may change.

Source: Amazon S3 API reference, LifecycleRule, CORSRule, ObjectLockConfiguration.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypedDict

COMPLIANCE = "COMPLIANCE"
GIB = 1 << 30


class Lock(TypedDict):
    """Object lock is enabled; `days` is 0 if versions are kept only where each says so."""

    mode: str
    days: int


class LifecycleRule(Protocol):
    """What expires by itself."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def prefix(self) -> str: ...  # noqa: D102
    @property
    def expire_days(self) -> int | None: ...  # noqa: D102
    @property
    def expire_noncurrent_days(self) -> int | None: ...  # noqa: D102
    @property
    def expire_delete_markers(self) -> bool: ...  # noqa: D102
    @property
    def abort_multipart_days(self) -> int | None: ...  # noqa: D102


class CorsRule(Protocol):
    """Which pages of other origins may read answers."""

    @property
    def origins(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def methods(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def exposed(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def max_age_s(self) -> int | None: ...  # noqa: D102


def lifecycle(rules: Iterable[LifecycleRule]) -> list[dict[str, Any]]:
    """Declared rules as S3 takes them."""
    return normalised_lifecycle([_lifecycle_rule(rule) for rule in rules])


def _lifecycle_rule(rule: LifecycleRule) -> dict[str, Any]:
    markers = {"ExpiredObjectDeleteMarker": True} if rule.expire_delete_markers else {}
    return {
        "ID": rule.name,
        "Status": "Enabled",
        "Filter": {"Prefix": rule.prefix},
        "Expiration": {"Days": rule.expire_days} if rule.expire_days else markers,
        "NoncurrentVersionExpiration": {"NoncurrentDays": rule.expire_noncurrent_days},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": rule.abort_multipart_days},
    }


def normalised_lifecycle(rules: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rules to compare by: by name, without what says nothing, the prefix where it belongs today."""
    return sorted((_plain_rule(rule) for rule in rules), key=lambda rule: str(rule.get("ID", "")))


def _plain_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: _filled(value) for key, value in rule.items() if key not in ("Prefix", "Filter")}
    where = _filled(rule.get("Filter") or {}) or {"Prefix": rule.get("Prefix") or ""}
    return {**{key: value for key, value in made.items() if value not in ({}, [], None)}, "Filter": where}


def _filled(value: Any) -> Any:
    """Without members that are empty or off; engines differ in whether they tell of them."""
    if not isinstance(value, Mapping):
        return value
    return {key: _filled(one) for key, one in sorted(value.items()) if one not in (None, False, 0, "", {}, [])}


def cors(rules: Iterable[CorsRule]) -> list[dict[str, Any]]:
    """Declared rules as S3 takes them."""
    return normalised_cors(
        {
            "AllowedOrigins": rule.origins,
            "AllowedMethods": rule.methods,
            "AllowedHeaders": rule.headers,
            "ExposeHeaders": rule.exposed,
            **({} if rule.max_age_s is None else {"MaxAgeSeconds": rule.max_age_s}),
        }
        for rule in rules
    )


def normalised_cors(rules: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rules to compare by. Their order stays: the first that fits counts. Engines differ in how they say no age: 0."""
    return [
        {key: sorted(value) if isinstance(value, list | tuple) else value for key, value in sorted(rule.items())
         if value not in ([], (), "", 0, None)}
        for rule in rules
    ]  # fmt: skip


def text(settings: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None) -> str:
    """As plans show it, line by line; "" for nothing."""
    return json.dumps(settings, indent=2, sort_keys=True) + "\n" if settings else ""


def shown_lock(lock: Lock | None) -> str:
    """As plans show it: "30 days, GOVERNANCE"; "" without object lock."""
    if lock is None:
        return ""
    return f"{counted(lock['days'], 'day')}, {lock['mode']}" if lock["days"] else "no retention by itself"


def shortens(found: Lock, wanted: Lock) -> bool:
    """Whether new versions would be kept less than they are. COMPLIANCE is more than GOVERNANCE of any length."""
    weaker = found["mode"] == COMPLIANCE and wanted["mode"] != COMPLIANCE
    return bool(found["days"]) and (weaker or wanted["days"] < found["days"])


def shown_bytes(count: int) -> str:
    """1536 is "1.5 KiB"."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.4g} {unit}"


def counted(count: int, noun: str) -> str:
    """1 is "1 day", 2 is "2 days"."""
    return f"{count} {noun}{'s' * (count != 1)}"
