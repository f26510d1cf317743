"""Requests to an S3 endpoint: boto3's methods and an engine's own paths, signed, over our connections only.

Nothing ambient is read: no environment, no ~/.aws, no metadata service. boto3 builds, signs and parses; what it would
send is answered by our own `requests` session, so nothing is retried or redirected behind our back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

import gevent
import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError, NewConnectionError

from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S
from unterbau.connectors.s3_boto import METHODS, s3_client
from unterbau.connectors.tunnel import OPEN_TIMEOUT_S
from unterbau.secrets.hidden import Hidden

T = TypeVar("T")
ANSWER_TIMEOUT_S = 30  # longer than MinIO waits for a lock of its own
BINARY = {"Content-Type": "application/octet-stream"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
UNKNOWN_KEY = ("SignatureDoesNotMatch", "InvalidAccessKeyId")
DONE_ALREADY = {"create_bucket": "BucketAlreadyOwnedByYou", "delete_bucket": "NoSuchBucket"}
NEXT_STEP = {
    "AccessDenied": "the endpoint's access key may not do it; see its declaration S3Endpoint",
    "SignatureDoesNotMatch": "the endpoint's secret is not what the server knows; apply the servers' layer first",
    "InvalidAccessKeyId": "the server does not know the endpoint's access key; see its declaration S3Endpoint",
    "NotImplemented": "this engine has no such feature; remove it from the declaration",
}


ABSENT = ("404", "NoSuchBucket", "NoSuchKey", "NoSuchVersion")  # "404": what HEAD is answered with


class S3Error(EndpointError):
    """The server refused; `code` is S3's."""

    def __init__(self, sentence: str, code: str, status: int) -> None:
        super().__init__(sentence)
        self.code, self.status = code, status


class Way(Protocol):
    """How the endpoint is reached."""

    @property
    def names(self) -> Mapping[str, str]:
        """{address: node} of the servers that run on nodes of ours."""

    @property
    def unguarded(self) -> bool:
        """Whether the lock that the run holds for the endpoint's sake was lost."""

    def url(self, patience_s: float) -> str:
        """The server to ask, as https://host:port; NotThereError with what is there instead."""

    def session(self) -> requests.Session:
        """Connections to it, verified."""

    def answers(self) -> bool:
        """Whether any server answers, whatever it says."""

    def doubt(self, url: str, http: requests.Session) -> str | None:
        """Why the server at `url`, asked over `http`, may not know what is not there; None if it does."""

    def lock(self, holder: str) -> None:
        """Hold the endpoint for one run."""

    def close(self) -> None:
        """Give everything back."""


@dataclass(frozen=True)
class Key:
    """Whose requests are sent. `secrets` are tried newest first: a server may not know of a rotation yet."""

    name: str
    secrets: Callable[[], Sequence[Hidden]]
    region: str = "us-east-1"


class _NotCarriedOutError(Exception):
    """Or it `perhaps` was, and may be once more."""

    def __init__(self, found: str, *, perhaps: bool) -> None:
        super().__init__(found)
        self.perhaps = perhaps


@dataclass
class _Connection:
    url: str
    http: requests.Session
    boto: Any
    credentials: Credentials
    secret: Hidden


class S3Client:
    """One server at a time; `patience_s` says how long one is waited for."""

    def __init__(self, way: Way, key: Key, patience_s: Callable[[], float]) -> None:
        self.way, self._key, self._patience_s = way, key, patience_s
        self._connection: _Connection | None = None
        self._refused: list[str] = []  # secrets that the server does not know

    @property
    def access_key(self) -> str:
        """Whose requests are sent."""
        return self._key.name

    def call(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What boto3's method answers, without ResponseMetadata; EndpointError, S3Error."""

        def attempt(connection: _Connection) -> dict[str, Any]:
            answer: dict[str, Any] = getattr(connection.boto, method)(**parameters)
            answer.pop("ResponseMetadata", None)
            if method.startswith("list_"):
                self._believed(connection)
            return answer

        what = " ".join([method, *(str(parameters[key]) for key in ("Bucket", "Key") if key in parameters)])
        return self._carried_out(what, attempt, repeatable=METHODS[method] != "POST")

    def signed(
        self, method: str, path: str, query: Mapping[str, str], body: Callable[[str], bytes] | None = None
    ) -> tuple[bytes, Hidden]:
        """A request of the engine's own API: (content, the secret it was signed with); EndpointError, S3Error.

        `body` is made from the secret, since some bodies are encrypted with it.
        """

        def attempt(connection: _Connection) -> tuple[bytes, Hidden]:
            content = body(connection.secret.unmask()) if body else b""
            address = f"{quote(path)}?{urlencode(sorted(query.items()), quote_via=quote)}" if query else quote(path)
            return self._signed(connection, what, AWSRequest(method, f"{connection.url}{address}", BINARY, content))

        what = f"{method} {path}"
        return self._carried_out(what, attempt, repeatable=method != "POST")

    def asked(self, service: str, form: Mapping[str, str], *, repeatable: bool) -> bytes:
        """What an API of Amazon's that takes forms answers (service "iam"), where the engine speaks it on its port."""

        def attempt(connection: _Connection) -> tuple[bytes, Hidden]:
            request = AWSRequest("POST", f"{connection.url}/", FORM, urlencode(form).encode())
            return self._signed(connection, what, request, service)

        what = str(form["Action"])
        return self._carried_out(what, attempt, repeatable=repeatable)[0]

    def _signed(
        self, connection: _Connection, what: str, request: AWSRequest, service: str = "s3"
    ) -> tuple[bytes, Hidden]:
        S3SigV4Auth(connection.credentials, service, self._key.region).add_auth(request)
        answer = _sent(connection, request.prepare())
        if not answer.ok:
            raise _refusal(what, *_reason(answer))
        return answer.content, connection.secret

    def close(self) -> None:
        """Give the connections back."""
        self._forget()
        self.way.close()

    def _carried_out(self, what: str, attempt: Callable[[_Connection], T], *, repeatable: bool) -> T:
        """`attempt` on a server that can: while patience lasts, one that did nothing for certain is not the last."""
        deadline_s, perhaps = None, False
        while True:
            try:
                return self._attempted(what, attempt, repeatable=repeatable)
            except S3Error as error:
                if not perhaps or error.code != DONE_ALREADY.get(what.partition(" ")[0]):
                    raise
                return {}  # type: ignore[return-value]  # what the first of two equal requests did
            except _NotCarriedOutError as error:
                perhaps = perhaps or error.perhaps
                self._forget()
                if deadline_s is None:
                    patience_s = self._patience_s()
                    deadline_s = time.monotonic() + patience_s
                if time.monotonic() > deadline_s:
                    raise NotThereError(
                        f"cannot {what}: no server carried it out within {patience_s:g} s, the last found: {error}; "
                        "look at `unterbau storage status`"
                    ) from None
            gevent.sleep(LOOK_AGAIN_S)

    def _attempted(self, what: str, attempt: Callable[[_Connection], T], *, repeatable: bool) -> T:
        try:
            return attempt(self._connected())
        except ClientError as error:
            found = error.response.get("Error", {})
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            raise self._judged(_refusal(what, status, found.get("Code", ""), found.get("Message", ""))) from None
        except S3Error as error:
            raise self._judged(error) from None
        except BotoCoreError as error:
            raise EndpointError(f"cannot {what}: {' '.join(str(error).split())}") from None
        except (requests.RequestException, HTTPError, OSError) as error:
            if _never_sent(error) or repeatable:
                raise _NotCarriedOutError(_why(error), perhaps=not _never_sent(error)) from error
            self._forget()
            raise EndpointError(
                f"cannot tell whether {what} was carried out: the connection broke; plan again"
            ) from None

    def _judged(self, error: S3Error) -> Exception:
        """Whether a refusal is one: a server that starts, or does not know of a new secret, may yet do it.

        One that sees too few of the others says of what they all have that it is not there.
        """
        if error.status == 503:
            return _NotCarriedOutError(f"{error.code} (status 503)", perhaps=False)
        if error.code in ABSENT and self._connection is not None:
            try:
                self._believed(self._connection)
            except _NotCarriedOutError as doubted:
                return doubted
        if error.code in UNKNOWN_KEY and self._connection is not None:
            self._refused.append(self._connection.secret.unmask())
            if self._secret(self._refused) is not None:
                return _NotCarriedOutError(error.code, perhaps=False)
            self._refused.clear()
        return error

    def _believed(self, connection: _Connection) -> None:
        if doubt := self.way.doubt(connection.url, connection.http):
            raise _NotCarriedOutError(f"the word of a server that has no quorum ({doubt})", perhaps=False)

    def _connected(self) -> _Connection:
        if self._connection is None:
            url = self.way.url(self._patience_s())
            secret = self._secret(self._refused)
            if secret is None:
                raise EndpointError(f"cannot log in to {url}: the store has no secret for {self._key.name}")
            credentials = Credentials(self._key.name, secret.unmask())
            made = _Connection(
                url, self.way.session(), s3_client(url, self._key.region, credentials), credentials, secret
            )
            made.boto.meta.events.register("before-send.s3", lambda request, **_: _answer(made, request))
            self._connection = made
        return self._connection

    def _secret(self, without: Iterable[str]) -> Hidden | None:
        return next((one for one in self._key.secrets() if one.unmask() not in without), None)

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.http.close()
        self._connection = None


def _answer(connection: _Connection, request: AWSPreparedRequest) -> AWSResponse:
    """What botocore would have sent, sent by us."""
    answer = _sent(connection, request)
    return AWSResponse(request.url, answer.status_code, answer.headers, answer.raw)


def _sent(connection: _Connection, request: AWSPreparedRequest) -> requests.Response:
    if not request.url.startswith(f"{connection.url}/"):
        raise EndpointError(f"cannot ask {request.url.partition('?')[0]}: it leads away from {connection.url}")
    sent = requests.PreparedRequest()  # as it is: what was signed must not be spelt anew
    sent.method, sent.url, sent.body = request.method, request.url, request.body
    sent.headers = requests.structures.CaseInsensitiveDict(
        {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
    )
    timeout = (OPEN_TIMEOUT_S, ANSWER_TIMEOUT_S)
    # The session itself would keep cookies and think of redirects.
    return connection.http.get_adapter(request.url).send(sent, stream=True, timeout=timeout)


def _refusal(what: str, status: int, code: str, message: str) -> S3Error:
    step = NEXT_STEP.get(code, "correct what is declared, or read the server's log")
    said = f": {' '.join(message.split())}" if message else ""
    return S3Error(f"cannot {what}: found {code or 'no S3 error'} (status {status}){said}; {step}", code, status)


def _reason(answer: requests.Response) -> tuple[int, str, str]:
    """(status, code, message) of an engine's own API, whose errors are JSON, and XML where S3's own layer refused."""
    with suppress(ValueError, AttributeError):
        found = answer.json()
        return answer.status_code, str(found.get("Code", "")), str(found.get("Message", ""))
    code, message = (re.search(rf"<{tag}>([^<]*)</{tag}>", answer.text) for tag in ("Code", "Message"))
    return answer.status_code, code[1] if code else "", unescape(message[1]) if message else answer.text[:200]


def _why(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer within {ANSWER_TIMEOUT_S} s"
    return "the connection broke" if not _never_sent(error) else f"no connection ({error})"


def _never_sent(error: Exception) -> bool:
    return isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError)
