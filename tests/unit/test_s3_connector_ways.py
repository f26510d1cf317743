"""How an S3 endpoint is reached: which server of several, and what is no way at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import requests
from botocore.awsrequest import AWSRequest

from unterbau.connectors import s3_members
from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.s3_members import Direct, ThroughNodes
from unterbau.connectors.s3_wire import send

ADDRESSES = {"srv-1": "10.0.0.1", "srv-2": "10.0.0.2", "srv-3": "10.0.0.3"}


def through(monkeypatch: pytest.MonkeyPatch, *looks: dict[str, str]) -> ThroughNodes:
    """What a look at all of them says, the last one again and again."""
    hosts = [SimpleNamespace(name=name, data=SimpleNamespace(node=SimpleNamespace(address=address)))
             for name, address in ADDRESSES.items()]  # fmt: skip
    state: Any = SimpleNamespace(inventory=SimpleNamespace(get_group=lambda _name: hosts))
    found = ThroughNodes(state, "storage", 9000, list, "/minio/health/cluster")
    left = list(looks)
    monkeypatch.setattr(found, "look", lambda **_: left.pop(0) if len(left) > 1 else left[0])
    monkeypatch.setattr(s3_members, "LOOK_AGAIN_S", 0)
    return found


SILENT = "does not answer (refused)"


@pytest.mark.parametrize(
    ("look", "url"),
    [
        ({"srv-1": "status 503", "srv-2": "healthy", "srv-3": "healthy"}, "https://10.0.0.2:9000"),
        ({"srv-1": SILENT, "srv-2": SILENT, "srv-3": "status 503"}, "https://10.0.0.3:9000"),
        ({"srv-1": "healthy", "srv-2": SILENT, "srv-3": SILENT}, "https://10.0.0.1:9000"),
    ],
)
def test_a_server_with_write_quorum_is_preferred_then_one_that_answers(
    monkeypatch: pytest.MonkeyPatch, look: dict[str, str], url: str
) -> None:
    found = through(monkeypatch, look)
    assert found.url(0) == url
    assert found.answers()
    assert found.names["10.0.0.2"] == "srv-2"


def test_without_any_each_one_is_named_and_one_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = dict.fromkeys(ADDRESSES, SILENT)
    found = through(monkeypatch, nobody)
    assert not found.answers()
    with pytest.raises(
        NotThereError, match=r"found srv-1 does not answer \(refused\), srv-2 .*unterbau storage status"
    ):
        found.url(0)
    assert through(monkeypatch, nobody, {**nobody, "srv-2": "healthy"}).url(5) == "https://10.0.0.2:9000"


@pytest.mark.parametrize(
    ("look", "url"),
    [
        ({"srv-1": "healthy", "srv-2": SILENT, "srv-3": "healthy"}, "https://10.0.0.3:9000"),
        ({"srv-1": "healthy", "srv-2": SILENT, "srv-3": "status 503"}, "https://10.0.0.1:9000"),
        ({"srv-1": "status 503", "srv-2": "status 503", "srv-3": SILENT}, "https://10.0.0.2:9000"),
    ],
)
def test_who_did_not_carry_it_out_is_asked_again_only_if_nobody_else_is_as_good(
    monkeypatch: pytest.MonkeyPatch, look: dict[str, str], url: str
) -> None:
    assert through(monkeypatch, look).url(0, {"https://10.0.0.1:9000"}) == url


@pytest.mark.parametrize(("status", "said"), [(200, "healthy"), (503, "status 503"), (302, "status 302")])
def test_health_is_what_the_engine_s_own_path_says(monkeypatch: pytest.MonkeyPatch, status: int, said: str) -> None:
    asked: list[tuple[str, bool]] = []

    def get(url: str, *, timeout: float, allow_redirects: bool) -> requests.Response:
        asked.append((url, allow_redirects))
        answer = requests.Response()
        answer.status_code = status
        return answer

    found = through(monkeypatch, {})
    assert found.ask(found.all[0], SimpleNamespace(get=get)) == said  # type: ignore[arg-type]
    assert asked == [("https://10.0.0.1:9000/minio/health/cluster", False)]


def test_more_than_half_of_all_servers_decide_and_the_healthy_ones_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    found = through(monkeypatch, {"srv-1": "status 503", "srv-2": "healthy", "srv-3": SILENT})
    assert found.electorate() == (["https://10.0.0.2:9000"], 2)
    assert Direct("https://s3.example", None).electorate() == ([], 1)


@pytest.mark.parametrize("url", ["http://10.0.0.1:9000", "https://h/path", "https://h?x", "h:9000", "https://"])
def test_what_is_no_https_service_is_refused(url: str) -> None:
    with pytest.raises(EndpointError, match="found no https://host or https://host:port"):
        Direct(url, None)


def test_a_request_that_leads_away_is_not_sent() -> None:
    connection: Any = SimpleNamespace(url="https://10.0.0.1:9000", http=None)
    for url in ("https://evil.example/abc", "https://10.0.0.1:9000.evil.example/abc", "http://10.0.0.1:9000/abc"):
        with pytest.raises(EndpointError, match=r"leads away from https://10\.0\.0\.1:9000"):
            send(connection, AWSRequest("GET", url, {}, b"").prepare())
