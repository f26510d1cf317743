"""What the API says: an answer, or a refusal with the code that Hetzner's clients know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Record = dict[str, Any]  # one JSON object

# The status beside each code. Source: Hetzner Cloud API, "Errors"; the rest of the codes are 422.
STATUS = {
    "json_error": 400, "unauthorized": 401, "token_readonly": 401, "forbidden": 403, "resource_limit_exceeded": 403,
    "not_found": 404, "firewall_resource_not_found": 404, "uniqueness_error": 409, "conflict": 409,
    "resource_unavailable": 412, "locked": 423, "protected": 423, "rate_limit_exceeded": 429,
    "server_error": 500, "bad_gateway": 502, "unavailable": 503, "timeout": 504,
}  # fmt: skip


class ApiError(Exception):
    """A request that is not done: the API's error code, a sentence, and details of the code's own shape."""

    def __init__(self, code: str, message: str, details: Record | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def answer(self) -> Answer:
        """The refusal on the wire: {"error": {code, message, details}}."""
        error: Record = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return json_answer(STATUS.get(self.code, 422), {"error": error})


def invalid(field_name: str, message: str) -> ApiError:
    """invalid_input, with the one field that is wrong."""
    details = {"fields": [{"name": field_name, "messages": [message]}]}
    return ApiError("invalid_input", f"invalid input in field '{field_name}': {message}", details)


@dataclass(frozen=True)
class Answer:
    """A status, headers and a body; `cut`: the connection breaks in the middle of the body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False

    def with_headers(self, headers: Mapping[str, str]) -> Answer:
        """The same answer with more headers."""
        return replace(self, headers={**self.headers, **headers})

    @property
    def json(self) -> Any:
        """The body, read; None if there is none."""
        return json.loads(self.body) if self.body else None


def json_answer(status: int, content: Record | None = None) -> Answer:
    """An answer in JSON; no body at all without content."""
    if content is None:
        return Answer(status)
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(content).encode())
