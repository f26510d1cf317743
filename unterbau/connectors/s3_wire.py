"""One request to an S3 server, and what its answer means."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from typing import Any

import requests
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.credentials import Credentials
from urllib3.exceptions import NewConnectionError

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.tunnel import OPEN_TIMEOUT_S
from unterbau.secrets.hidden import Hidden

ANSWER_TIMEOUT_S = 30  # longer than MinIO waits for a lock of its own
NEXT_STEP = {
    "AccessDenied": "the endpoint's access key may not do it; see its declaration S3Endpoint",
    "SignatureDoesNotMatch": "the endpoint's secret is not what the server knows; apply the servers' layer first",
    "InvalidAccessKeyId": "the server does not know the endpoint's access key; see its declaration S3Endpoint",
    "NotImplemented": "this engine has no such feature; remove it from the declaration",
}


@dataclass
class Connection:
    """To one server, with a secret that it is believed to know."""

    url: str
    http: requests.Session
    boto: Any
    credentials: Credentials
    secret: Hidden


class S3Error(EndpointError):
    """The server refused; `code` is S3's."""

    def __init__(self, sentence: str, code: str, status: int) -> None:
        super().__init__(sentence)
        self.code, self.status = code, status


def botocores(connection: Connection, request: AWSPreparedRequest) -> AWSResponse:
    """What botocore would have sent, sent by us."""
    answer = send(connection, request)
    return AWSResponse(request.url, answer.status_code, answer.headers, answer.raw)


def send(connection: Connection, request: AWSPreparedRequest) -> requests.Response:
    """The server's answer, its body unread; EndpointError for an address that is not the server's."""
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


def refusal(what: str, status: int, code: str, message: str) -> S3Error:
    """The error of a request that was answered so."""
    step = NEXT_STEP.get(code, "correct what is declared, or read the server's log")
    said = f": {' '.join(message.split())}" if message else ""
    return S3Error(f"cannot {what}: found {code or 'no S3 error'} (status {status}){said}; {step}", code, status)


def reason(answer: requests.Response) -> tuple[int, str, str]:
    """(status, code, message) of an engine's own API, whose errors are JSON, and XML where S3's own layer refused."""
    with suppress(ValueError, AttributeError):
        found = answer.json()
        return answer.status_code, str(found.get("Code", "")), str(found.get("Message", ""))
    code, message = (re.search(rf"<{tag}>([^<]*)</{tag}>", answer.text) for tag in ("Code", "Message"))
    return answer.status_code, code[1] if code else "", unescape(message[1]) if message else answer.text[:200]


def why(error: Exception) -> str:
    """What became of a request that was not answered."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {ANSWER_TIMEOUT_S} s"
    return "the connection broke" if not never_sent(error) else f"no connection ({error})"


def never_sent(error: Exception) -> bool:
    """Whether no byte of it reached a server, for certain."""
    return isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError)
