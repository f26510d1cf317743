"""Asking the lab's cloud for its faults, at the address on loopback that is for that alone."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from unterbau.lab.cloud.answer import Record
from unterbau.lab.errors import LabError
from unterbau.lab.layout import CLOUD_FAULTS_PORT, Lab

_TIMEOUT_S = 30


def faults(lab: Lab) -> list[Record]:
    """The faults that are on."""
    found: list[Record] = _ask(lab, "GET", "/faults")["faults"]
    return found


def add_fault(lab: Lab, fault: Record) -> int:
    """Switch a fault on; its id."""
    number: int = _ask(lab, "POST", "/faults", fault)["id"]
    return number


def clear_faults(lab: Lab, number: int | None = None) -> None:
    """Switch one off, or all."""
    _ask(lab, "DELETE", "/faults" if number is None else f"/faults/{number}")


def _ask(lab: Lab, method: str, path: str, body: Record | None = None) -> Any:
    url = f"http://{lab.cloud_address}:{CLOUD_FAULTS_PORT}{path}"
    request = Request(url, method=method, data=None if body is None else json.dumps(body).encode())
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"{}")
    except HTTPError as error:
        said = json.loads(error.read())["error"]["message"]
        hint = "see `unterbau lab cloud fault add --help`"
        raise LabError(f"cannot {method} {path} at the lab's cloud: {said}; {hint}") from error
    except (URLError, OSError) as error:
        raise LabError(f"cannot ask the lab's cloud at {url}: {error}; run `unterbau lab cloud up`") from error
