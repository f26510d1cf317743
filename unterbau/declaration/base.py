"""What every declaration has in common: frozen, no unknown fields, strict types, and errors that name file and line."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError

from unterbau.declaration import explain
from unterbau.declaration.masking import plain
from unterbau.declaration.places import calling_frame, field_line, place_of
from unterbau.declaration.problems import INERT, Collector, DeclarationError, Inert, Problem, active


class Declaration(BaseModel):
    """A typed value of group data. A bad one raises DeclarationError; under `collecting()` it is recorded and inert."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    def __init__(self, /, **data: Any) -> None:
        collector = active()
        try:
            super().__init__(**data)
        except ValidationError as error:
            self._failed(data, error, collector)
        else:
            if collector is not None:
                collector.made(self, place_of(calling_frame()))

    def _failed(self, data: dict[str, Any], error: ValidationError, collector: Collector | None) -> None:
        errors = error.errors(include_url=False)
        problems = [self._problem(data, one) for one in errors if explain.stands_alone(one)]
        if collector is None:
            raise DeclarationError(problems) from None
        collector.made(self, place_of(calling_frame()), problems)
        self._become_inert(data, {str(one["loc"][0]) for one in errors if one["loc"]})

    def _problem(self, data: dict[str, Any], error: Any) -> Problem:
        frame, steps = calling_frame(), explain.path(error)
        fields = {field.alias or name: field.description or "" for name, field in type(self).model_fields.items()}
        return Problem(
            file=frame.f_code.co_filename, line=field_line(frame, steps), object=_label(type(self), data),
            field=explain.written(steps), found=explain.found(error, str(steps[0]) if steps else ""),
            allowed=explain.allowed(error, fields),
        )  # fmt: skip

    def _become_inert(self, data: dict[str, Any], bad: set[str]) -> None:
        """Fields that were fine keep what was given, so that rules between objects can still use names."""
        values = {}
        for name, field in type(self).model_fields.items():
            default = INERT if field.is_required() else field.get_default(call_default_factory=True)
            values[name] = INERT if (field.alias or name) in bad else data.get(field.alias or name, default)
        object.__setattr__(self, "__dict__", values)
        for slot, value in (("fields_set", set()), ("extra", None), ("private", None)):
            object.__setattr__(self, f"__pydantic_{slot}__", value)

    @property
    def label(self) -> str:
        """How a report names it: 'Node srv-1', 'Network'."""
        return _label(type(self), self.__dict__)

    def to_json(self) -> dict[str, Any]:
        """As pyinfra's own JSON output shows it."""
        return self.model_dump(mode="json", by_alias=True)


def _label(kind: type, data: dict[str, Any]) -> str:
    name = data.get("name")
    return f"{kind.__name__} {plain(str(name))}" if name is not None and not isinstance(name, Inert) else kind.__name__


def made_of(*kinds: type[Declaration]) -> PlainValidator:
    """A validator: one of these declarations, never a dict that looks like one."""

    def check(value: object) -> object:
        if not isinstance(value, (*kinds, Inert)):
            raise ValueError(" or ".join(f"{kind.__name__}(…)" for kind in kinds))  # noqa: TRY004  # what pydantic turns into a problem
        return value

    return PlainValidator(check)
