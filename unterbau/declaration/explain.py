"""From what pydantic noticed to a sentence: which field, what was found, what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails, PydanticCustomError

from unterbau.declaration.masking import plain, shown
from unterbau.declaration.problems import Inert

UNITS = {
    "_s": "seconds", "_minutes": "minutes", "_hours": "hours", "_days": "days", "_mib": "MiB", "_gib": "GiB",
}  # fmt: skip
_IN_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_IN_MIB = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_PHRASES = {
    "int_type": "a whole number", "bool_type": "True or False", "string_type": "text", "dict_type": "a dict",
    "tuple_type": "a tuple such as (…,)", "too_short": "at least one",
}  # fmt: skip


def rule(field: str, found: str, allowed: str) -> PydanticCustomError:
    """What a validator of a whole object raises: the rule names the field itself."""
    return PydanticCustomError("rule", "{allowed}", {"field": field, "found": found, "allowed": allowed})


def near(word: str, known: Iterable[str]) -> str:
    """' (did you mean …?)' when something known is near, else ''."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def unit_of(field: str) -> str:
    """The unit that a field's name carries: 'minutes' for slot_minutes; '' if none."""
    return next((unit for ending, unit in UNITS.items() if field.endswith(ending)), "")


def _as_unit(text: str, unit: str) -> str:
    """'2h' for minutes is ' (write 120)'; '' where that is not plain."""
    written = re.fullmatch(r"\s*(\d+)\s*([a-zA-Z]+)\s*", text)
    if not written:
        return f" (write {text.strip()})" if text.strip().isdigit() else ""
    number, suffix = int(written[1]), written[2].lower()
    seconds = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}.get(unit)
    if seconds:
        amount = number * _IN_SECONDS[suffix] / seconds if suffix in _IN_SECONDS else 0.0
    else:
        size = _IN_MIB.get(suffix.removesuffix("ib").removesuffix("b"), 0)
        amount = number * size / {"MiB": 1, "GiB": 1024}.get(unit, 1) if unit else 0.0
    return f" (write {int(amount)})" if amount and amount == int(amount) else ""


def _number(error: ErrorDetails, field: str) -> str:
    unit = unit_of(field)
    hint = _as_unit(error["input"], unit) if isinstance(error["input"], str) else ""
    return "a whole number" + (f" of {unit}" if unit else "") + hint


def _bounds(context: Mapping[str, Any], field: str) -> str:
    word, value = next((word, context[key]) for key, word in _BOUNDS.items() if key in context)
    return " ".join(part for part in ("a whole number", word, str(value), unit_of(field)) if part)


def allowed(error: ErrorDetails, fields: Mapping[str, str]) -> str:
    """What may stand there. `fields` are the object's, with their descriptions."""
    context, kind = error.get("ctx", {}), error["type"]
    field = next((str(step) for step in reversed(error["loc"]) if isinstance(step, str)), "")
    if kind == "extra_forbidden":
        return ", ".join(fields) + near(field, fields)
    if kind == "missing":
        return fields.get(field) or "a value"
    if kind == "int_type":
        return _number(error, field)
    if not context.keys().isdisjoint(_BOUNDS):
        return _bounds(context, field)
    said = next((context[key] for key in ("allowed", "error", "expected") if key in context), None)
    return str(said) if said is not None else _PHRASES.get(kind, plain(error["msg"]))


def found(error: ErrorDetails, field: str) -> str:
    """What stands there, masked."""
    if error["type"] == "missing":
        return "nothing"
    if "found" in error.get("ctx", {}):  # the rule says itself what may be shown of it
        return str(error["ctx"]["found"])
    if error["type"] == "extra_forbidden":
        return "an unknown field"
    return shown(error["input"], field)


def path(error: ErrorDetails) -> tuple[int | str, ...]:
    """The way to the value; a rule about the whole object names its field itself."""
    return (error["ctx"]["field"],) if error["type"] == "rule" else error["loc"]


def written(steps: Iterable[int | str]) -> str:
    """('ports', 0) as ports[0]; ('sysctl', 'vm.swappiness') as sysctl[vm.swappiness]."""
    first, *rest = [str(step) for step in steps] or [""]
    return first + "".join(f"[{plain(step)}]" for step in rest if step != "[key]")


def stands_alone(error: ErrorDetails) -> bool:
    """False for an error that only follows from another one: of an item, or of a declaration that failed before."""
    value = error["input"]
    if error["type"] == "too_short" and value:
        return False
    parts = value if isinstance(value, (tuple, list)) else [value]
    return not any(isinstance(part, Inert) for part in parts)
