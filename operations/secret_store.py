"""The bootstrap store: what is missing is made, what is due is made anew. Values never appear here."""

from __future__ import annotations

from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from facts.secret_store import Versions
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown
from unterbau.secrets.keyring import Metadata


@operation()
def current(secrets: Mapping[str, str | None], *, rotate: bool = True) -> Commands:
    """Every one of `secrets` is in the store, and none is older than its period.

    One command stores all of them or none, each only as the version that is shown. What is due but not made by anything
    stays: `unterbau secrets list --env ENV` shows it, and somebody has to set it.

    Args:
        secrets: {name: what is made, in words ("password of 32 characters"); None: only a person can set it}.
        rotate: False if consumers are missing in this run, which then would go on with the old value.
    """
    stored = host.get_fact(Versions)
    if isinstance(stored, Unknown):
        sentence = f"cannot see to the secrets of {host.name}: the store could not be read; see the error above"
        yield from changes.refuse(sentence)
        return
    if by_hand := [name for name, made in secrets.items() if made is None and name not in stored]:
        run = " and ".join(f"`unterbau secrets set {name} --env ENV`" for name in by_hand)
        sentence = f"cannot go on without the secrets {', '.join(by_hand)}: only a person can set them; run {run}"
        yield from changes.refuse(sentence)
        return
    due = {name: made for name, made in secrets.items() if made and _is_due(stored.get(name), rotate)}
    if not due:
        host.noop(_why_nothing(stored, rotate))
        return
    for name, made in due.items():
        changes.attribute(f"secret {name}", _old(stored.get(name)), f"version {_next(stored.get(name))}, {made}")
    yield StringCommand("COMMIT", *(QuoteString(f"{name}={_next(stored.get(name))}") for name in due))


def _is_due(stored: Metadata | None, rotate: bool) -> bool:
    return stored is None or (rotate and stored["overdue_days"] is not None)


def _next(stored: Metadata | None) -> int:
    return stored["version"] + 1 if stored else 1


def _old(stored: Metadata | None) -> str | None:
    return f"version {stored['version']}, made {stored['made_at'][:10]}" if stored else None


def _why_nothing(stored: Mapping[str, Metadata], rotate: bool) -> str:
    overdue = sorted(name for name, one in stored.items() if one["overdue_days"] is not None)
    if not overdue:
        return "all secrets are there, none is overdue"
    way = "set by hand" if rotate else "made anew in a run over all hosts"
    return f"all secrets are there; overdue, to be {way}: {', '.join(overdue)}"
