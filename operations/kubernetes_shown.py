"""How a plan shows Kubernetes objects: a new one as YAML, a change value by value, a Secret's values never."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pyinfra.api import HiddenValue

from unterbau import changes
from unterbau.domain.kubernetes_fields import is_below
from unterbau.domain.kubernetes_object import Difference, Manifest, Ref


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def say_new(ref: Ref, manifest: Manifest) -> None:
    """The whole object."""
    changes.text(str(ref), None, yaml.dump(_masked(manifest), Dumper=_Dumper, sort_keys=True, width=110))


def _masked(value: Any) -> Any:
    match value:
        case HiddenValue():
            return changes.HIDDEN
        case Mapping():
            return {key: _masked(one) for key, one in value.items()}
        case list() | tuple():
            return [_masked(one) for one in value]
    return value


def say_changes(ref: Ref, found: Sequence[Difference], managers: Mapping[str, str]) -> None:
    """Each value that changes; `managers` are {field: who set it by hand}."""
    said = {one.path for one in found}
    for one in found:
        who = next((manager for name, manager in managers.items() if is_below(one.path, name)), None)
        _say(ref, one, who)
    for name, manager in managers.items():  # as declared, but somebody else's to change
        if not any(is_below(path, name) for path in said):
            changes.attribute(f"{ref} {name} manager", manager, "unterbau")


def _say(ref: Ref, one: Difference, manager: str | None) -> None:
    subject = f"{ref} {one.path}"
    if ref.kind == "Secret" and one.path.startswith(".data."):
        old, new = (None if value is None else changes.HIDDEN for value in (one.old, one.new))
        changes.attribute(subject, _by(old, manager), new if old is None or new is None else f"{new}, another one")
    elif "\n" in f"{one.old or ''}{one.new or ''}":
        changes.text(f"{subject} (set by {manager})" if manager else subject, one.old, one.new)
    else:
        changes.attribute(subject, _by(one.old, manager), one.new)


def _by(old: str | None, manager: str | None) -> str | None:
    """A value and who set it. One that a person took away is absent."""
    return old if old is None or manager is None else f"{old} (set by {manager})"
