"""The API that `@hcloud` speaks to is slow, out of order, limited or not there; its token goes nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from tests.unit.hcloud_answers import BROKEN, FIRST, OURS, TOKEN, action, listed, made, pages, ran, refused, server
from unterbau.connectors import hcloud_client
from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.hcloud_client import CloudClient, Quota
from unterbau.secrets.hidden import Hidden

NOBODY = requests.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused")))  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "conflict", "locked"])
def test_what_is_refused_for_now_is_asked_again(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    refusal = refused(code, "later", 429)
    answers = {
        **dict(pages("servers", [server(1, "a")])),
        "POST /servers/1/actions/poweron": [refusal, refusal, (201, {"action": action(1)})],
    }
    one, api = made(monkeypatch, answers)
    assert ran(one, "POST servers/a/actions/poweron {}") == (True, {})
    assert api.calls.count("POST /servers/1/actions/poweron") == 3


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_list_survives_an_api_that_is_out_of_order_for_a_moment(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    one, _ = made(monkeypatch, {f"GET /servers?{FIRST}": [(status, None), BROKEN, listed("servers", server(1))]})
    assert ran(one, "GET servers")[0]


def test_a_write_that_an_api_out_of_order_got_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    one, api = made(
        monkeypatch, {**dict(pages("servers", [server(1, "a")])), "POST /servers/1/actions/reset": [(500, None)]}
    )
    assert not ran(one, "POST servers/a/actions/reset {}")[0]
    assert api.calls.count("POST /servers/1/actions/reset") == 1


def test_an_action_whose_answer_was_lost_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "POST /servers/1/actions/reset"
    one, api = made(monkeypatch, {**dict(pages("servers", [server(1, "a")])), path: [BROKEN]})
    assert (
        "cannot tell whether POST servers/1/actions/reset was carried out"
        in ran(one, "POST servers/a/actions/reset {}")[1]
    )
    assert api.calls.count(path) == 1


def test_details_and_the_next_step_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [{"name": "ip_range", "messages": ["is no network", "overlaps"]}]
    answers = {"POST /networks": [refused("invalid_input", "bad", 422, fields=fields)]}
    body = {"name": "n", "labels": OURS}
    assert ran(made(monkeypatch, answers)[0], f"POST networks {json.dumps(body)}") == (
        False,
        "cannot POST networks: found invalid_input: bad (ip_range: is no network, overlaps); correct what is declared, "
        "or plan again later",
    )


def test_nobody_there_is_said_once_and_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = made(monkeypatch, {f"GET /servers?{FIRST}": [NOBODY], f"GET /locations?{FIRST}": [NOBODY]})
    done, said = ran(one, "GET servers")
    assert not done
    assert said.startswith("cannot GET servers: no connection to https://cloud.invalid/v1")
    assert TOKEN not in said
    assert not one.anybody_answers()


def test_a_token_that_an_answer_quotes_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = made(monkeypatch, {f"GET /servers?{FIRST}": [refused("unauthorized", f"{TOKEN} is no token", 401)]})
    done, said = ran(one, "GET servers")
    assert not done
    assert said == (
        "cannot GET servers: found unauthorized: *MASKED* is no token; set the project's token anew with `unterbau "
        "secrets set`"
    )


def test_the_quota_is_read_and_kept_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"RateLimit_Limit": "3600", "RateLimit_Remaining": "150", "RateLimit_Reset": "1790000000"}
    one, api = made(monkeypatch, dict(pages("locations", [{"id": 1, "name": "fsn1"}])), **limits)
    waited: list[float] = []
    monkeypatch.setattr(hcloud_client.gevent, "sleep", waited.append)
    assert ran(one, "GET limits") == (True, {"limit": 3600, "remaining": 150, "reset_at": 1790000000})
    assert ran(one, "GET limits")[0]
    assert len(api.calls) == 1
    assert ran(one, "GET pricing")[0] is False
    assert waited[:2] == [0, 1.0]  # the first knew nothing, the second goes no faster than the quota refills


@pytest.mark.parametrize(("remaining", "pace_s"), [(None, 0), (3599, 0), (201, 0), (200, 1), (0, 1)])
def test_pace(remaining: int | None, pace_s: float) -> None:
    assert Quota(3600, remaining).pace_s() == pace_s


@pytest.mark.parametrize("endpoint", ["http://cloud.example/v1", "ftp://127.0.0.1/v1", "cloud.example"])
def test_the_token_goes_over_tls_only(endpoint: str) -> None:
    with pytest.raises(EndpointError, match="found no https:// URL"):
        CloudClient(endpoint, Hidden(TOKEN))


def test_a_netrc_does_not_replace_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine cloud.invalid login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    one, api = made(monkeypatch, dict(pages("servers", [])))
    assert ran(one, "GET servers") == (True, [])
    assert api.sent[0].headers["Authorization"] == f"Bearer {TOKEN}"
