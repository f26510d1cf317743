"""The kinds of values that fields have. Each refuses with one sentence: what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from unterbau.declaration.problems import Inert

T = TypeVar("T")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


def matching(pattern: str, allowed: str) -> AfterValidator:
    """A validator: the whole text matches, else `allowed` is the message."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(allowed)
        return text

    return AfterValidator(check)


def hostname(text: str) -> str:
    """One label. Source: RFC 1123 2.1 (letters, digits, hyphen, 63 at most), in lower case as RFC 4343 compares."""
    if not _LABEL.fullmatch(text):
        raise ValueError(
            "an RFC 1123 host name: 1 to 63 of a-z, 0-9 and '-', no '-' at either end, no dot (srv-1)" + _lowered(text)
        )
    return text


def _lowered(text: str) -> str:
    better = text.lower().replace("_", "-")
    return f" (did you mean {better}?)" if better != text and _LABEL.fullmatch(better) else ""


def domain_name(text: str) -> str:
    """Labels with dots between. Source: RFC 1123 2.1 and RFC 1035 2.3.4 (253 characters at most)."""
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise ValueError("a domain name of RFC 1123 labels in lower case, without a dot at either end (lab.internal)")
    return text


def address(value: object) -> object:
    """A dotted quad; a number is no address here, though ipaddress would take it."""
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("an IPv4 address such as 10.77.0.11") from None


def cidr(value: object) -> object:
    """A network with its prefix length and no host bits."""
    if isinstance(value, IPv4Network):
        return value
    text = value if isinstance(value, str) else ""
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        raise ValueError("an IPv4 network in CIDR form such as 10.77.0.0/24") from None
    if str(network) != text:
        raise ValueError(f"a network in CIDR form without host bits (write {network})")
    return network


def port_range(value: object) -> object:
    """A port, or a range of ports as text; kept as given."""
    first, last = port_bounds(value)
    if not 1 <= first <= last <= 65535:
        raise ValueError('a port from 1 to 65535, or a range of them as text, low to high ("30000-32767")')
    return value


def port_bounds(value: object) -> tuple[int, int]:
    """(first, last) of 22 or "30000-32767"; (0, 0) if it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    written = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value) if isinstance(value, str) else None
    return (int(written[1]), int(written[2])) if written else (0, 0)


def as_tuple(value: object) -> object:
    """A list is as good as a tuple, and becomes one."""
    return tuple(value) if isinstance(value, list) else value


def repeated(values: Iterable[Any], key: Callable[[Any], object] = lambda value: value) -> list[Any]:
    """Values that come again, in order; one that failed on its own has no equal."""
    seen: set[object] = set()
    there = [value for value in values if not _inert(key(value))]
    return [value for value in there if key(value) in seen or seen.add(key(value))]  # type: ignore[func-returns-value]


def _inert(key: object) -> bool:
    return any(isinstance(part, Inert) for part in (key if isinstance(key, tuple) else (key,)))


def different(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a value given twice."""
    again = repeated(values)
    if again:
        raise ValueError(f"each value once ({again[0]} is there twice)")
    return values


def file_path(text: str) -> str:
    """A path on the operator's machine: absolute, below ~/, or from the checkout."""
    if not text.isprintable() or text.strip() != text or not text or "PRIVATE KEY" in text:
        raise ValueError("the path of a file: absolute, beginning with ~/, or from the checkout")
    return text


Many = Annotated[tuple[T, ...], BeforeValidator(as_tuple)]
Some = Annotated[tuple[T, ...], Field(min_length=1), BeforeValidator(as_tuple)]
HostName = Annotated[str, AfterValidator(hostname)]
DomainName = Annotated[str, AfterValidator(domain_name)]
FilePath = Annotated[str, AfterValidator(file_path)]
Address = Annotated[IPv4Address, BeforeValidator(address)]
Cidr = Annotated[IPv4Network, BeforeValidator(cidr)]
Port = Annotated[int, Field(ge=1, le=65535)]
Ports = Annotated[int | str, BeforeValidator(port_range)]
Group = Annotated[str, matching(r"[a-z][a-z0-9_-]*", "a group's name: a-z, 0-9, '_' and '-', a letter first")]
Slug = Annotated[str, matching(r"[a-z][a-z0-9-]{0,62}", "a short name: a-z, 0-9 and '-', a letter first")]
ClockTime = Annotated[str, matching(r"([01]\d|2[0-3]):[0-5]\d", "a time of day HH:MM from 00:00 to 23:59, as text")]
UserName = Annotated[
    str, matching(r"[a-z_][a-z0-9_-]{0,31}", "a user name: a-z, 0-9, '_' and '-', 32 at most, no digit first")
]
