"""Unknown is a value of its own: never empty, never false, never equal to anything that was read."""

from __future__ import annotations

from typing import Final, NoReturn, final


@final
class Unknown:
    """What a fact is worth that could not be read. Asking it for a truth value is a programming error."""

    _only: Unknown | None = None

    def __new__(cls) -> Unknown:
        """The only one there is."""
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> NoReturn:
        raise TypeError("UNKNOWN is neither true nor false: test it with `is UNKNOWN` first")

    def __repr__(self) -> str:
        return "UNKNOWN"

    def to_json(self) -> str:
        """As pyinfra's own JSON output shows it."""
        return "UNKNOWN"

    def __copy__(self) -> Unknown:
        return self

    def __deepcopy__(self, memo: object) -> Unknown:
        return self


UNKNOWN: Final = Unknown()


@final
class AfterApply:
    """What a fact of an endpoint is worth that a layer of the same plan has yet to make. Neither true nor false."""

    _only: AfterApply | None = None

    def __new__(cls) -> AfterApply:
        """The only one there is."""
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> NoReturn:
        raise TypeError("AFTER_APPLY is neither true nor false: test it with `is AFTER_APPLY` first")

    def __repr__(self) -> str:
        return KNOWN_AFTER_APPLY

    def to_json(self) -> str:
        """As pyinfra's own JSON output shows it."""
        return KNOWN_AFTER_APPLY

    def __copy__(self) -> AfterApply:
        return self

    def __deepcopy__(self, memo: object) -> AfterApply:
        return self


KNOWN_AFTER_APPLY: Final = "(known after apply)"
AFTER_APPLY: Final = AfterApply()
