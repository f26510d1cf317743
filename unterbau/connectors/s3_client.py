"""Requests to an S3 endpoint: boto3's methods and an engine's own paths, signed, over our connections only.

Nothing ambient is read: no environment, no ~/.aws, no metadata service. boto3 builds, signs and parses; what it would
send is answered by our own `requests` session, so nothing is retried or redirected behind our back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeAlias, TypeVar, cast
from urllib.parse import quote, urlencode

import gevent
import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S
from unterbau.connectors.s3_agreement import ABSENT, DisagreementError, Said, agreed, listed, unordered
from unterbau.connectors.s3_boto import METHODS, s3_client
from unterbau.connectors.s3_wire import Connection, S3Error, botocores, never_sent, reason, refusal, send, why
from unterbau.secrets.hidden import Hidden

T = TypeVar("T")
BINARY = {"Content-Type": "application/octet-stream"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
UNKNOWN_KEY = ("SignatureDoesNotMatch", "InvalidAccessKeyId")
DONE_ALREADY = {"create_bucket": "BucketAlreadyOwnedByYou", "delete_bucket": "NoSuchBucket"}


class Way(Protocol):
    """How the endpoint is reached."""

    @property
    def names(self) -> Mapping[str, str]:
        """{address: node} of the servers that run on nodes of ours."""

    @property
    def unguarded(self) -> bool:
        """Whether the lock that the run holds for the endpoint's sake was lost."""

    def url(self, patience_s: float, avoided: Collection[str]) -> str:
        """The server to ask, as https://host:port, one not `avoided` if there is; NotThereError with what is there."""

    def session(self) -> requests.Session:
        """Connections to it, verified."""

    def answers(self) -> bool:
        """Whether any server answers, whatever it says."""

    def electorate(self) -> tuple[Sequence[str], int]:
        """(healthy servers as https://host:port, how many of them have to say that something is not there)."""

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


Attempt: TypeAlias = Callable[[Connection], T]
Essence: TypeAlias = Callable[[T], object]


class S3Client:
    """One server at a time; `patience_s` says how long one is waited for."""

    def __init__(self, way: Way, key: Key, patience_s: Callable[[], float]) -> None:
        self.way, self._key, self._patience_s = way, key, patience_s
        self._connection: Connection | None = None
        self._others: dict[str, Connection] = {}  # who else was asked what is not there
        self._electorate: tuple[Sequence[str], int] | None = None
        self._avoided = set[str]()  # who did not carry out what is asked just now, healthy or not
        self._refused: list[str] = []  # secrets that the server does not know

    @property
    def access_key(self) -> str:
        """Whose requests are sent."""
        return self._key.name

    def call(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What boto3's method answers, without ResponseMetadata; EndpointError, S3Error."""

        def attempt(connection: Connection) -> dict[str, Any]:
            answer: dict[str, Any] = getattr(connection.boto, method)(**parameters)
            answer.pop("ResponseMetadata", None)
            return answer

        what = " ".join([method, *(str(parameters[key]) for key in ("Bucket", "Key") if key in parameters)])
        essence = listed if method.startswith("list_") else None
        return self._carried_out(what, attempt, repeatable=METHODS[method] != "POST", essence=essence)

    def signed(
        self, method: str, path: str, query: Mapping[str, str], body: Callable[[str], bytes] | None = None
    ) -> bytes:
        """A request of the engine's own API; EndpointError, S3Error.

        `body` is made from the secret it is signed with, since some bodies are encrypted with it.
        """

        def attempt(connection: Connection) -> bytes:
            content = body(connection.secret.unmask()) if body else b""
            return self._signed(connection, what, AWSRequest(method, _url(connection, path, query), BINARY, content))

        what = f"{method} {path}"
        return self._carried_out(what, attempt, repeatable=method != "POST")

    def read(self, path: str, query: Mapping[str, str], decoded: Callable[[bytes, Hidden], T], *, voted: bool) -> T:
        """What a question of the engine's own API is answered with; `voted` if one server may know less than others.

        `decoded` gets the secret the question was signed with, since some answers are encrypted with it.
        """

        def attempt(connection: Connection) -> T:
            request = AWSRequest("GET", _url(connection, path, query), BINARY)
            return decoded(self._signed(connection, what, request), connection.secret)

        what = f"GET {path}"
        return self._carried_out(what, attempt, repeatable=True, essence=unordered if voted else None)

    def asked(self, service: str, form: Mapping[str, str], *, repeatable: bool) -> bytes:
        """What an API of Amazon's that takes forms answers (service "iam"), where the engine speaks it on its port."""

        def attempt(connection: Connection) -> bytes:
            request = AWSRequest("POST", f"{connection.url}/", FORM, urlencode(form).encode())
            return self._signed(connection, what, request, service)

        what = str(form["Action"])
        return self._carried_out(what, attempt, repeatable=repeatable)

    def _signed(self, connection: Connection, what: str, request: AWSRequest, service: str = "s3") -> bytes:
        S3SigV4Auth(connection.credentials, service, self._key.region).add_auth(request)
        answer = send(connection, request.prepare())
        if not answer.ok:
            raise refusal(what, *reason(answer))
        return answer.content

    def close(self) -> None:
        """Give the connections back."""
        self._forget()
        self.way.close()

    def _carried_out(self, what: str, attempt: Attempt[T], *, repeatable: bool, essence: Essence[T] | None = None) -> T:
        """`attempt` on a server that can: while patience lasts, one that did nothing for certain is not the last.

        An answer that has an `essence` is believed only if other servers say the same.
        """
        deadline_s, perhaps = None, False
        self._avoided.clear()
        while True:
            try:
                return self._attempted(what, attempt, repeatable=repeatable, essence=essence)
            except S3Error as error:
                if not perhaps or error.code != DONE_ALREADY.get(what.partition(" ")[0]):
                    raise
                return {}  # type: ignore[return-value]  # what the first of two equal requests did
            except _NotCarriedOutError as error:
                perhaps = perhaps or error.perhaps
                if self._connection is not None:
                    self._avoided.add(self._connection.url)
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

    def _attempted(self, what: str, attempt: Attempt[T], *, repeatable: bool, essence: Essence[T] | None) -> T:
        def voice(connection: Connection) -> Said[T]:
            return _said(connection, what, attempt, essence)

        try:
            said = voice(self._connected())
            if said.absent or essence:
                said = self._agreed(said, voice, repeatable=repeatable)
        except S3Error as error:
            raise self._judged(error) from None
        except BotoCoreError as error:
            raise EndpointError(f"cannot {what}: {' '.join(str(error).split())}") from None
        except (requests.RequestException, HTTPError, OSError) as error:
            if never_sent(error) or repeatable:
                raise _NotCarriedOutError(why(error), perhaps=not never_sent(error)) from error
            self._forget()
            raise EndpointError(
                f"cannot tell whether {what} was carried out: the connection broke; plan again"
            ) from None
        if said.absent:
            raise said.absent
        return cast("T", said.value)

    def _agreed(self, first: Said[T], voice: Callable[[Connection], Said[T]], *, repeatable: bool) -> Said[T]:
        """What enough of the servers say; whoever is right is asked next time."""
        urls, enough = self._electorate = self._electorate or self.way.electorate()
        others = (self._other(url, voice, repeatable=repeatable) for url in urls if url != first.url)
        try:
            said = agreed(filter(None, chain([first], others)), enough)
        except DisagreementError as error:
            raise _NotCarriedOutError(str(error), perhaps=False) from None
        if said.essence != first.essence:
            wrong, self._connection = self._connected(), self._others.pop(said.url)
            self._others[first.url] = wrong
        return said

    def _other(self, url: str, voice: Callable[[Connection], Said[T]], *, repeatable: bool) -> Said[T] | None:
        """What another server says; None if that is nothing of use."""
        if url not in self._others:
            self._others[url] = self._to(url)
        try:
            return voice(self._others[url])
        except S3Error:
            return None
        except (requests.RequestException, HTTPError, OSError) as error:
            if not repeatable and not never_sent(error):
                raise
            self._others.pop(url).http.close()
            return None

    def _judged(self, error: S3Error) -> Exception:
        """Whether a refusal is one: a server that starts, or does not know of a new secret, may yet do it."""
        if error.status == 503:
            return _NotCarriedOutError(f"{error.code} (status 503)", perhaps=False)
        if error.code in UNKNOWN_KEY and self._connection is not None:
            self._refused.append(self._connection.secret.unmask())
            if self._secret(self._refused) is not None:
                return _NotCarriedOutError(error.code, perhaps=False)
            self._refused.clear()
        return error

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._to(self.way.url(self._patience_s(), self._avoided))
        return self._connection

    def _to(self, url: str) -> Connection:
        secret = self._secret(self._refused)
        if secret is None:
            raise EndpointError(f"cannot log in to {url}: the store has no secret for {self._key.name}")
        credentials = Credentials(self._key.name, secret.unmask())
        made = Connection(url, self.way.session(), s3_client(url, self._key.region, credentials), credentials, secret)
        made.boto.meta.events.register("before-send.s3", lambda request, **_: botocores(made, request))
        return made

    def _secret(self, without: Iterable[str]) -> Hidden | None:
        return next((one for one in self._key.secrets() if one.unmask() not in without), None)

    def _forget(self) -> None:
        for one in (self._connection, *self._others.values()):
            if one is not None:
                one.http.close()
        self._connection, self._others, self._electorate = None, {}, None


def _said(connection: Connection, what: str, attempt: Attempt[T], essence: Essence[T] | None) -> Said[T]:
    """What this server answers; S3Error if it refuses for another reason than that something is not there."""
    try:
        value = attempt(connection)
    except ClientError as error:
        found = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        refused = refusal(what, status, found.get("Code", ""), found.get("Message", ""))
    except S3Error as error:
        refused = error
    else:
        return Said(connection.url, value, None, essence(value) if essence else None)
    if ABSENT.fullmatch(refused.code):
        return Said(connection.url, None, refused, refused.code)
    raise refused from None


def _url(connection: Connection, path: str, query: Mapping[str, str]) -> str:
    words = urlencode(sorted(query.items()), quote_via=quote)
    return f"{connection.url}{quote(path)}" + (f"?{words}" if words else "")
