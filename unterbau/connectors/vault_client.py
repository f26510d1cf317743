"""Requests to the active member of a Vault cluster: login by a client certificate, retries, failover."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent
import requests
from hvac.adapters import RawAdapter
from urllib3.exceptions import NewConnectionError

from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S
from unterbau.connectors.tunnel import ANSWER_TIMEOUT_S, OPEN_TIMEOUT_S, session, tls_context
from unterbau.connectors.vault_members import Members
from unterbau.secrets.hidden import Hidden

AUTH_PATH, ROLE = "auth/deploy/login", "deploy"
MOVED = (307, 429, 472, 473, 502, 503)  # not carried out: a standby, a sealed member, one that just lost its office
UPGRADING = "Upgrading from non-versioned to versioned"  # a KV engine, for a moment after it was made
MADE_ALREADY = "path is already in use"  # by an engine or auth method
RENEW_BEFORE_S = 60
NEXT_STEP = {
    400: "correct what is declared, or read the server's log",
    403: "the policy `deploy` does not allow it; `unterbau plan` names what differs from it",
    412: "it was changed meanwhile: plan again",
}


class _NotCarriedOutError(Exception):
    """Or it `perhaps` was, and may be once more."""

    def __init__(self, found: str, *, perhaps: bool) -> None:
        super().__init__(found)
        self.perhaps = perhaps


class _NotYetError(_NotCarriedOutError):
    """Not yet, by the same member."""


@dataclass(frozen=True)
class Credentials:
    """What a login needs, asked anew for each: the trusted roots, and client key + certificate, most likely first."""

    roots: Callable[[], Sequence[str]]
    clients: Callable[[], Sequence[Hidden]]


@dataclass
class _Login:
    adapter: RawAdapter
    token: Hidden
    until_s: float


class VaultClient:
    """One login at the active member at a time; `patience_s` says how long a leader is waited for."""

    def __init__(self, members: Members, credentials: Credentials, patience_s: Callable[[], float]) -> None:
        self.members, self._credentials, self._patience_s = members, credentials, patience_s
        self._login: _Login | None = None

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """The answer, whatever its status, of a member that was able to give one; EndpointError.

        While patience lasts, a request that certainly was not carried out is sent again to the new leader; one that
        may have been only if it can be repeated: everything but a write with check-and-set.
        """
        deadline_s, perhaps = None, False
        while True:
            try:
                response = self._attempt(method, path, body, **options)
                return _done() if perhaps and _made_already(response) else response
            except _NotCarriedOutError as error:
                perhaps = perhaps or error.perhaps
                if not isinstance(error, _NotYetError):
                    self._forget()
                if deadline_s is None:
                    patience_s = self._patience_s()
                    deadline_s = time.monotonic() + patience_s
                if time.monotonic() > deadline_s:
                    raise NotThereError(
                        f"cannot {method} {path}: no member carried it out within {patience_s:g} s, the last found: "
                        f"{error}; look at `unterbau vault status`"
                    ) from None
            gevent.sleep(LOOK_AGAIN_S)

    def close(self) -> None:
        """Give the token back, and the connections."""
        if self._login is not None:
            with suppress(requests.RequestException, OSError, EOFError):
                self._login.adapter.request("POST", "/v1/auth/token/revoke-self", raise_exception=False)
        self._forget()
        self.members.close()

    def _attempt(self, method: str, path: str, body: Any, **options: Any) -> requests.Response:
        fresh = self._login is None
        response = self._once(method, path, body, **options)
        if response.status_code == 403 and not fresh:  # an expired token looks like a denied one
            self._forget()
            response = self._once(method, path, body, **options)
        if response.status_code == 400 and UPGRADING in response.text:
            raise _NotYetError("a KV engine that is being made", perhaps=False)
        if _moved(response, repeatable=_repeatable(method, body)):
            raise _NotCarriedOutError(f"status {response.status_code}", perhaps=response.status_code == 500)
        return response

    def _once(self, method: str, path: str, body: Any, **options: Any) -> requests.Response:
        try:
            adapter = self._logged_in()
        except requests.RequestException as error:
            raise _NotCarriedOutError(_why(error), perhaps=False) from error
        try:
            return _send(adapter, method, path, body, **options)
        except requests.RequestException as error:
            if _never_sent(error) or _repeatable(method, body):
                raise _NotCarriedOutError(_why(error), perhaps=not _never_sent(error)) from error
            self._forget()
            raise EndpointError(
                f"cannot tell whether {method} {path} was carried out: the connection broke; plan again"
            ) from None

    def _logged_in(self) -> RawAdapter:
        if self._login is None or time.monotonic() > self._login.until_s:
            self._forget()
            self._login = self._log_in()
        return self._login.adapter

    def _log_in(self) -> _Login:
        member = self.members.active(self._patience_s())
        refused = "there is no authority for the login in the store"
        for client in self._credentials.clients():
            http = session(self.members.open, tls_context(self._credentials.roots(), client.unmask()))
            adapter = RawAdapter(
                base_uri=member.url, session=http, timeout=(OPEN_TIMEOUT_S, ANSWER_TIMEOUT_S), allow_redirects=False
            )
            answer = adapter.request("POST", f"/v1/{AUTH_PATH}", json={"name": ROLE}, raise_exception=False)
            if answer.status_code == 200:
                auth = answer.json()["auth"]
                token = Hidden(auth["client_token"])
                adapter.token = token.unmask()
                return _Login(adapter, token, time.monotonic() + max(auth["lease_duration"] - RENEW_BEFORE_S, 5))
            refused = sentence("POST", AUTH_PATH, answer)
            http.close()
            if _moved(answer, repeatable=True):
                raise requests.ConnectionError("the leader changed")
        raise EndpointError(refused)

    def _forget(self) -> None:
        if self._login is not None:
            self._login.adapter.close()
        self._login = None


def _send(adapter: RawAdapter, method: str, path: str, body: Any, **options: Any) -> requests.Response:
    content = {} if body is None else {"json": body}
    if "data" in options:
        options["data"].seek(0)  # a file that was sent before, perhaps
    answer = adapter.request(method, f"/v1/{path}", raise_exception=False, **content, **options)
    assert isinstance(answer, requests.Response)  # noqa: S101  # for the type checker
    return answer


def sentence(method: str, path: str, response: requests.Response) -> str:
    """What a status that is no success means, in words."""
    try:
        errors = "; ".join(response.json().get("errors") or ()) or "no reason given"
    except ValueError:
        errors = "no JSON"
    found = " ".join(errors.split())
    step = NEXT_STEP.get(412 if "check-and-set" in found else response.status_code, "read the server's log")
    return (
        f"cannot {'PUT' if method == 'POST' else method} {path}: found status {response.status_code}: {found}; {step}"
    )


def _why(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer within {ANSWER_TIMEOUT_S} s (a disk or an audit device that blocks?)"
    return "the connection broke"


def _never_sent(error: requests.RequestException) -> bool:
    return isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError)


def _repeatable(method: str, body: Any) -> bool:
    return method != "POST" or "cas" not in ((body or {}).get("options") or {})


def _made_already(response: requests.Response) -> bool:
    return response.status_code == 400 and MADE_ALREADY in response.text


def _done() -> requests.Response:
    """For what the first of two equal requests did, though its answer was lost."""
    made = requests.Response()
    made.status_code, made._content = 204, b""
    return made


def _moved(response: requests.Response, *, repeatable: bool) -> bool:
    if response.status_code in MOVED:
        return True
    lost_office = ("leader", "not active", "context canceled", "sealed")
    return response.status_code == 500 and repeatable and any(word in response.text for word in lost_office)
