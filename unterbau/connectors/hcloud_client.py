"""Requests to the Hetzner Cloud API: its own client's retries, the quota it shares, whole lists, ended actions."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gevent
import requests
from hcloud import APIException, Client

from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.secrets.hidden import Hidden

TIMEOUT_S = (10, 60)  # to connect, to answer
TRIES = 3  # beside those of the vendor's client, which are five
AGAIN_S = 2.0
PAGE = 50  # the most that the API gives
ACTIONS_WITHIN_S = 900  # a server of a large image takes minutes
FIRST_LOOK_S, LONGEST_LOOK_S = 0.5, 5.0
KEPT_FOR_OTHERS = 200  # requests: the cloud controller and the autoscaler use the same quota
LOCKED = ("locked", "resource_locked")  # refused for now: a label selector's firewall is being applied, for example
OVERLOADED = ("service_error", "unavailable", "maintenance", "server_error", 500, 503)
NEXT_STEP = {
    "unauthorized": "set the project's token anew with `unterbau secrets set`",
    "token_readonly": "the token may only read; set one that may write with `unterbau secrets set`",
    "forbidden": "the token may not do it; set one that may write with `unterbau secrets set`",
    "resource_limit_exceeded": "ask for a higher limit in the project's console, or declare less",
    "rate_limit_exceeded": "see who else uses the project's quota, and plan again later",
    "resource_unavailable": "declare more types or locations, or plan again later",
    "placement_error": "declare more locations, or plan again later",
    "protected": "it was protected meanwhile: plan again",
    "not_found": "it went away meanwhile: plan again",
    "uniqueness_error": "find who has it in the project's console",
    "maintenance": "see status.hetzner.com, and plan again later",
}


class ApiError(EndpointError):
    """The API refused; `code` is its own, or the HTTP status where it gave none."""

    def __init__(self, sentence: str, code: str | int, message: str) -> None:
        super().__init__(sentence)
        self.code, self.message = code, message


class UnansweredError(EndpointError):
    """A request that may or may not have been carried out."""


@dataclass
class Quota:
    """What the last answer said of the project's requests; it refills steadily, `limit` of them an hour."""

    limit: int = 3600
    remaining: int | None = None  # None: no answer yet
    reset_at: int | None = None  # when it is full again, in seconds since 1970, UTC

    def read(self, answer: requests.Response, **_options: Any) -> None:
        """Take the numbers of an answer's headers; a hook of `requests`."""
        found = {name: answer.headers.get(f"RateLimit-{name}", "") for name in ("Limit", "Remaining", "Reset")}
        if all(value.isdigit() for value in found.values()):
            self.limit, self.remaining, self.reset_at = (int(value) for value in found.values())

    def pace_s(self) -> float:
        """How long to wait before the next request, so that what is kept for others is not used up."""
        if self.remaining is None or self.remaining > min(KEPT_FOR_OTHERS, self.limit // 4):
            return 0
        return 3600 / max(self.limit, 1)


class CloudClient:
    """One project's API. What it raises is an EndpointError, without the token."""

    def __init__(self, endpoint: str, token: Hidden, ca: str = "") -> None:
        """`ca` is a file with the authorities to trust instead of this machine's; EndpointError for plain HTTP."""
        _is_safe(endpoint)
        self.quota = Quota()
        self._endpoint, self._verify = endpoint, ca or True
        self._client = Client(token.unmask(), endpoint.rstrip("/"), application_name="unterbau", timeout=TIMEOUT_S)

    def call(self, method: str, path: str, body: Any = None, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of one request; ApiError, UnansweredError, NotThereError."""
        for left in reversed(range(TRIES)):
            try:
                return self._once(method, path, body, params)
            except ApiError as error:
                if not left or not _may_be_repeated(method, error):
                    raise
            except (NotThereError, UnansweredError):
                if not left or method != "GET":
                    raise
            gevent.sleep(AGAIN_S)
        raise AssertionError(TRIES)  # the last try returns or raises

    def every(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind, whole or not at all; EndpointError."""
        for _ in range(TRIES):
            found, total = self._pages(kind)
            if total is None or len(found) == total:
                return list(found.values())
        raise EndpointError(
            f"cannot list {kind}: found {len(found)} of {total} in each of {TRIES} attempts; plan again later"
        )

    def ended(self, what: str, answer: Mapping[str, Any]) -> None:
        """Return once the actions that an answer carries have succeeded; EndpointError."""
        deadline_s = time.monotonic() + ACTIONS_WITHIN_S
        for action in _actions(answer):
            self._ended(what, action, deadline_s)

    def close(self) -> None:
        """Forget the token. The vendor's client has no connections to give back before it is collected."""
        del self._client

    def _ended(self, what: str, action: Mapping[str, Any], deadline_s: float) -> None:
        wait_s = FIRST_LOOK_S
        while action["status"] == "running":
            if time.monotonic() > deadline_s:
                raise EndpointError(
                    f"cannot {what}: its action {action['command']} still runs after {ACTIONS_WITHIN_S} s, at "
                    f"{action.get('progress', 0)} %; plan again: what exists by then is taken over"
                )
            gevent.sleep(wait_s)
            wait_s = min(wait_s * 1.5, LONGEST_LOOK_S)
            action = self.call("GET", f"/actions/{action['id']}")["action"]
        if action["status"] != "success":
            failed = action.get("error") or {}
            raise EndpointError(
                f"cannot {what}: its action {action['command']} failed: {failed.get('code', action['status'])}: "
                f"{failed.get('message', 'no reason given')}; plan again: what exists by then is taken over"
            )

    def _pages(self, kind: str) -> tuple[dict[int, dict[str, Any]], int | None]:
        found: dict[int, dict[str, Any]] = {}
        page, total = 1, None
        while page:
            answer = self.call("GET", f"/{kind}", params={"page": page, "per_page": PAGE})
            found |= {one["id"]: one for one in answer[kind]}
            said = (answer.get("meta") or {}).get("pagination") or {}
            total = said.get("total_entries")
            following = int(said.get("next_page") or 0)
            page = following if following > page else 0
        return found, total

    def _once(self, method: str, path: str, body: Any, params: Mapping[str, Any] | None) -> dict[str, Any]:
        gevent.sleep(self.quota.pace_s())
        content = {} if body is None else {"json": body}
        try:
            return self._client.request(
                method, path, params=params, verify=self._verify, allow_redirects=False,
                auth=_as_it_is, hooks={"response": self.quota.read}, **content,
            )  # fmt: skip
        except APIException as error:
            raise _refused(f"{method} {path.lstrip('/')}", error) from None
        except requests.ConnectTimeout as error:
            raise self._not_there(method, path, error) from None
        except requests.ConnectionError as error:
            if _never_sent(error):
                raise self._not_there(method, path, error) from None
            raise _unanswered(method, path) from None
        except requests.RequestException:
            raise _unanswered(method, path) from None

    def _not_there(self, method: str, path: str, error: Exception) -> NotThereError:
        why = error.args[0] if error.args else error
        return NotThereError(
            f"cannot {method} {path.lstrip('/')}: no connection to {self._endpoint} ({getattr(why, 'reason', why)})"
        )


def _is_safe(endpoint: str) -> None:
    """The token goes over it."""
    parts = urlsplit(endpoint)
    # All of 127/8 is this machine. Source: RFC 1122 3.2.1.3.
    at_home = re.fullmatch(r"127(\.[0-9]{1,3}){3}|::1|localhost", parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and at_home):
        raise EndpointError(f"cannot reach a cloud at {endpoint!r}: found no https:// URL; correct its declaration")


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps `requests` from reading a .netrc, which would replace the token."""
    return request


def _actions(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    one = answer.get("action")
    yield from (one,) if one else ()
    yield from answer.get("actions") or ()
    yield from answer.get("next_actions") or ()


def _may_be_repeated(method: str, error: ApiError) -> bool:
    return error.code in LOCKED or (method == "GET" and error.code in OVERLOADED)


def _refused(what: str, error: APIException) -> ApiError:
    step = NEXT_STEP.get(str(error.code), "correct what is declared, or plan again later")
    said = f"cannot {what}: found {error.code}: {error.message}{_details(error.details)}; {step}"
    return ApiError(said, error.code, str(error.message))


def _details(details: Any) -> str:
    """Which fields the API did not like, and why."""
    fields = details.get("fields") if isinstance(details, Mapping) else None
    said = [f"{one.get('name')}: {', '.join(one.get('messages') or ())}" for one in fields or ()]
    return f" ({'; '.join(said)})" if said else ""


def _unanswered(method: str, path: str) -> UnansweredError:
    return UnansweredError(
        f"cannot tell whether {method} {path.lstrip('/')} was carried out: the connection broke; plan again"
    )


def _never_sent(error: requests.ConnectionError) -> bool:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return type(reason).__name__ in ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "SSLError")
