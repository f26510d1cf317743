"""Requests to a Kubernetes API: the official dynamic client builds them, our connections through nodes carry them.

A server that goes away is replaced by another one while patience lasts. Everything that is sent may be sent again:
applies say the whole state, deletions and patches name the very object by its uid.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import gevent
import requests
from gevent.lock import BoundedSemaphore
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.resource import Resource

from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S
from unterbau.connectors.tunnel import OPEN_TIMEOUT_S
from unterbau.secrets.store import StoreError

ANSWER_TIMEOUT_S = 30  # an apply passes admission, which may ask others
CONNECTIONS = 4  # at once
BUSY = (429, 503, 504)  # an API server that starts, ends, or has lost etcd's leader for a moment
PASSING = (
    b"etcdserver:",
    b"leader changed",
    b"context deadline exceeded",
    b"connection refused",
    b"apiserver is shutting",
)


class Way(Protocol):
    """How servers are reached."""

    unguarded: bool

    def url(self, patience_s: float) -> str:
        """Where a server answers; NotThereError."""

    def session(self) -> requests.Session:
        """HTTP to any of them."""

    def answers(self) -> bool:
        """Whether any answers."""

    def roots(self) -> str:
        """The authorities of the servers (PEM)."""

    def forget(self) -> None:
        """Read the login anew."""

    def lock(self, holder: str) -> None:
        """Hold what the run's limit left out."""

    def close(self) -> None:
        """Give everything back."""


class ApiError(EndpointError):
    """The API said no. `status` is HTTP's, `causes` are [{reason, field, message}] of its Status, `text` is all."""

    def __init__(self, status: int, message: str, causes: list[dict[str, str]], text: str) -> None:
        super().__init__(message)
        self.status, self.causes, self.text = status, causes, text


@dataclass
class _Answer:
    """What the generated client wants of an HTTP answer."""

    status: int
    reason: str
    data: bytes
    headers: Any

    @property
    def response(self) -> _Answer:
        return self

    def read(self) -> bytes:
        return self.data

    def getheaders(self) -> Any:
        return self.headers


class KubernetesClient:
    """Many requests at once, each over one of a few connections."""

    def __init__(self, way: Way, patience_s: Callable[[], float]) -> None:
        self.way, self._patience_s = way, patience_s
        self._url = ""
        self._free: list[requests.Session] = []
        self._turns = BoundedSemaphore(CONNECTIONS)
        api = ApiClient(Configuration(host=""))
        api.rest_client = self  # type: ignore[assignment]  # ours carries requests
        self._dynamic = DynamicClient(api, discoverer=lambda _client, _cache: None)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The answer's JSON (or text); ApiError, or NotThereError where no server carried it out."""
        try:
            answer = self._dynamic.request(method, path, body=body, serialize=False, **options)
        except ApiException as error:
            raise _api_error(method, path, error) from None
        text = answer.data.decode(errors="replace")
        try:
            return json.loads(text)
        except ValueError:
            return text

    def resource(self, **described: Any) -> Resource:
        """A kind of object as the dynamic client knows it: where its objects are."""
        return Resource(client=self._dynamic, **described)

    def at_once(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The answers in order; what one raises is raised once all have ended."""
        greenlets = [gevent.spawn(_kept, call) for call in calls]
        gevent.joinall(greenlets)
        ended = [greenlet.get() for greenlet in greenlets]
        for _answer, error in ended:
            if error is not None:
                raise error
        return [answer for answer, _error in ended]

    def close(self) -> None:
        """Give the connections back."""
        self._forget()
        self.way.close()

    def request(  # the generated client's signature
        self, method: str, url: str, headers: dict[str, str], body: Any = None, **_options: Any
    ) -> _Answer:
        """One request, to another server if this one is gone; NotThereError."""
        content = None if body is None else json.dumps(body)
        deadline_s: float | None = None
        while True:
            try:
                answer = self._once(method, url, headers, content)
            except requests.RequestException as error:
                found, last = f"the connection broke ({type(error).__name__})", None
                self._forget()
            else:
                if answer.status != requests.codes.unauthorized and not _passes(answer):
                    return answer
                found = f"status {answer.status}: {_text(answer)}"
                last = answer if _is_of_the_api(answer) else None
                self._renew(answer.status)
            if deadline_s is None:
                deadline_s = time.monotonic() + self._patience_s()
            elif time.monotonic() >= deadline_s:  # once more in any case: connections that rest are cut
                if last is not None:
                    return last
                raise NotThereError(f"cannot {method} {url}: no server of the Kubernetes API carried it out: {found}")
            gevent.sleep(LOOK_AGAIN_S)

    def _once(self, method: str, url: str, headers: dict[str, str], content: str | None) -> _Answer:
        with self._turns, self._session() as http:
            answer = http.request(
                method, (self._url or self._looked_up()) + url, data=content, allow_redirects=False,
                headers={**headers, "Accept-Encoding": "identity"}, timeout=(OPEN_TIMEOUT_S, ANSWER_TIMEOUT_S),
            )  # fmt: skip
            return _Answer(answer.status_code, answer.reason, answer.content, answer.headers)

    def _looked_up(self) -> str:
        try:
            self._url = self.way.url(0)
        except NotThereError:  # only now is it asked whether anybody is worth waiting for
            if not (patience_s := self._patience_s()):
                raise
            self._url = self.way.url(patience_s)
        return self._url

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        url = self._url or self._looked_up()
        http = self._free.pop() if self._free else self.way.session()
        try:
            yield http
        except BaseException:
            http.close()
            raise
        if url == self._url:
            self._free.append(http)
        else:  # another request found this server gone meanwhile
            http.close()

    def _renew(self, status: int) -> None:
        if status == requests.codes.unauthorized:
            self.way.forget()
        self._forget()

    def _forget(self) -> None:
        self._url = ""
        while self._free:
            self._free.pop().close()


def _kept(call: Callable[[], Any]) -> tuple[Any, EndpointError | StoreError | None]:
    """(answer, error): one that left its greenlet would be printed."""
    try:
        return call(), None
    except (EndpointError, StoreError) as error:
        return None, error


def _passes(answer: _Answer) -> bool:
    """Whether it may be carried out in a moment. Of 500s these are few: mostly it is the request itself."""
    if answer.status == requests.codes.internal_server_error:
        return any(word in answer.data for word in PASSING)
    return answer.status in BUSY


def _is_of_the_api(answer: _Answer) -> bool:
    """Whether a server that is well says so, of a webhook for example; else it has no store for the moment."""
    said = _json(answer.data)
    if said.get("kind") != "Status" or answer.status == requests.codes.unauthorized:
        return False
    if b"webhook" in answer.data:
        return True
    return answer.status != requests.codes.gateway_timeout and not any(word in answer.data for word in PASSING)


def _text(answer: _Answer) -> str:
    return " ".join(str(_json(answer.data).get("message") or answer.reason or "no reason given").split())


def _json(text: bytes | str) -> dict[str, Any]:
    """What an answer is; {} if it is no JSON object."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _api_error(method: str, path: str, error: ApiException) -> ApiError:
    text = str(error.body or "")
    said = _json(text)
    causes = (said.get("details") or {}).get("causes") or []
    message = " ".join(str(said.get("message") or error.reason or "no reason given").split())
    where = path.partition("?")[0]
    sentence = f"cannot {method.upper()} {where}: found status {error.status}: {message}"
    return ApiError(int(error.status or 0), sentence, causes, text)
