"""`@hcloud/<name>`: lists, names for numbers, marks, lost answers, ended actions, the shared quota."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from tests.unit.hcloud_answers import OURS, TOKEN, action, listed, made, pages, ran, refused
from unterbau.connectors import hcloud_client
from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.hcloud import HcloudConnector
from unterbau.connectors.hcloud_client import CloudClient, Quota
from unterbau.secrets.hidden import Hidden

BROKEN = requests.ConnectionError("the connection was closed")
NOBODY = requests.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused")))  # type: ignore[arg-type]
FIRST = "page=1&per_page=50"


def server(number: int, name: str = "", **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name or f"prod-servers-{number}", "labels": OURS, "status": "running", **more}


def new(name: str = "prod-servers-1", **more: Any) -> str:
    return f"POST servers {json.dumps({'name': name, 'labels': OURS, **more})}"


def test_a_list_has_every_page_and_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, api = made(monkeypatch, dict(pages("servers", [server(n) for n in range(1, 121)])))
    done, found = ran(one, "GET servers")
    assert done
    assert [each["id"] for each in found] == list(range(1, 121))
    assert ran(one, "GET servers") == (True, found)
    assert api.calls == [f"GET /servers?page={n}&per_page=50" for n in (1, 2, 3)]
    assert api.sent[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_list_that_misses_a_page_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    one, api = made(monkeypatch, {f"GET /servers?{FIRST}": [listed("servers", server(1), total=51)]})
    done, said = ran(one, "GET servers")
    assert not done
    assert said == "cannot list servers: found 1 of 51 in each of 3 attempts; plan again later"
    assert len(api.calls) == 3


def test_a_list_that_is_whole_the_second_time_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [listed("servers", total=1), listed("servers", server(1))]
    assert ran(made(monkeypatch, {f"GET /servers?{FIRST}": answers})[0], "GET servers") == (True, [server(1)])


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("GET everything", "cannot list 'everything': there are servers, networks"),
        ("GET servers/../pricing", "cannot list 'servers/../pricing'"),
        ("POST servers/x {}", "found no action"),
        ("POST servers/x/actions/../../y {}", "a path is kind, kind/name or kind/name/actions/action"),
        ("PUT servers {}", "a path is kind/name here"),
        ("DELETE servers/x/actions/poweroff", "a path is kind/name here"),
        ("DELETE pricing/x", "cannot change 'pricing'"),
        ('POST servers {"name": "a"}', "without the labels {'cluster': 'prod', 'managed-by': 'unterbau'}"),
        ('POST servers {"labels": 1, "name": "a"}', "of another shape (AttributeError"),
        ("AWAIT servers/x {}", "of another shape (KeyError: 'until')"),
        ("reboot servers/x", "found the verb 'reboot'"),
    ],
)
def test_what_is_no_command_is_refused_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch, command: str, words: str
) -> None:
    one, api = made(monkeypatch, dict(pages("servers", [server(1, "x")])))
    done, said = ran(one, command)
    assert not done
    assert words in said
    assert not [call for call in api.calls if not call.startswith("GET")]


def test_names_stand_for_numbers_and_answers_have_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        **dict(pages("networks", [{"id": 7, "name": "prod", "labels": OURS}])),
        **dict(pages("placement_groups", [{"id": 8, "name": "prod-1", "labels": OURS}])),
        "POST /servers": [(201, {"server": server(1), "action": action(3), "root_password": "Secret-root-password"})],
    }
    one, api = made(monkeypatch, answers)
    body = {"networks": ["prod"], "placement_group": "prod-1", "ssh_keys": ["ops"], "image": "debian-12"}
    done, found = ran(one, new(**body))
    assert done
    assert found == server(1)
    sent = {"name": "prod-servers-1", "labels": OURS, **body, "networks": [7], "placement_group": 8}
    assert api.asked[-1] == ("POST /servers", sent)


def test_a_name_that_only_somebody_else_has_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"id": 9, "name": "pet", "labels": {"managed-by": "unterbau", "cluster": "other"}}
    one, api = made(monkeypatch, dict(pages("servers", [theirs])))
    change = f"PUT servers/pet {json.dumps({'labels': OURS})}"
    for command in ("POST servers/pet/actions/poweroff {}", change, 'AWAIT servers/pet {"until": {}}'):
        assert ran(one, command) == (False, "cannot find servers/pet: none of ours has that name; plan again")
    assert ran(one, "DELETE servers/pet") == (True, {})  # none of ours has that name: it is gone already
    assert set(api.calls) == {f"GET /servers?{FIRST}"}


def test_labels_are_not_taken_off_what_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    one, api = made(monkeypatch, dict(pages("servers", [server(1, "a")])))
    done, said = ran(one, 'PUT servers/a {"labels": {"pool": "x"}}')
    assert not done
    assert "without the labels" in said
    assert not api.calls


@pytest.mark.parametrize("now", [{"labels": {}}, {"name": "renamed"}])
def test_what_is_no_longer_what_was_planned_is_not_deleted(monkeypatch: pytest.MonkeyPatch, now: Any) -> None:
    answers = {
        **dict(pages("servers", [server(1, "a")])),
        "GET /servers/1": [(200, {"server": {**server(1, "a"), **now}})],
    }
    one, api = made(monkeypatch, answers)
    done, said = ran(one, "DELETE servers/a")
    assert not done
    assert said == "cannot delete servers/a: found it renamed, or without our labels, meanwhile; plan again"
    assert not [call for call in api.calls if call.startswith("DELETE")]


def test_a_deletion_ends_with_its_action_and_may_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        f"GET /servers?{FIRST}": [listed("servers", server(1, "a")), listed("servers")],
        "GET /servers/1": [(200, {"server": server(1, "a")})],
        "DELETE /servers/1": [(200, {"action": action(5, "running")})],
        "GET /actions/5": [(200, {"action": action(5, "running")}), (200, {"action": action(5)})],
    }
    one, api = made(monkeypatch, answers)
    assert ran(one, "DELETE servers/a") == (True, {})
    assert api.calls[-2:] == ["GET /actions/5", "GET /actions/5"]
    assert ran(one, "DELETE servers/a") == (True, {})
    assert api.calls.count("DELETE /servers/1") == 1


def test_a_failed_action_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = action(5, "error", error={"code": "action_failed", "message": "the host broke"})
    answers = {
        "POST /servers": [(201, {"server": server(1), "action": action(4), "next_actions": [action(5, "running")]})],
        "GET /actions/5": [(200, {"action": failed})],
    }
    done, said = ran(made(monkeypatch, answers)[0], new())
    assert not done
    assert said == (
        "cannot create server prod-servers-1: its action do_it failed: action_failed: the host broke; plan again: "
        "what exists by then is taken over"
    )


def test_an_action_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hcloud_client, "ACTIONS_WITHIN_S", -1)
    answers = {"POST /servers": [(201, {"server": server(1), "action": action(5, "running")})]}
    done, said = ran(made(monkeypatch, answers)[0], new())
    assert not done
    assert "its action do_it still runs after -1 s, at 50 %" in said


TAKEN = refused("uniqueness_error", "server name is already used")


@pytest.mark.parametrize("first", [TAKEN, BROKEN, requests.ReadTimeout("slow")])
def test_an_object_whose_answer_was_lost_is_taken_over(monkeypatch: pytest.MonkeyPatch, first: Any) -> None:
    answers = {
        "POST /servers": [first],
        "GET /servers?name=prod-servers-1": [listed("servers", server(1))],
        "GET /servers/1/actions?status=running": [listed("actions", action(6, "running"))],
        "GET /actions/6": [(200, {"action": action(6)})],
    }
    one, api = made(monkeypatch, answers)
    assert ran(one, new()) == (True, server(1))
    assert api.calls[-1] == "GET /actions/6"


def test_an_object_of_somebody_else_with_the_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {**server(1), "labels": {}}
    answers = {"POST /servers": [TAKEN], "GET /servers?name=prod-servers-1": [listed("servers", theirs)]}
    done, said = ran(made(monkeypatch, answers)[0], new())
    assert not done
    assert said.startswith("cannot POST servers: found uniqueness_error: server name is already used; find who")


def test_a_create_that_never_arrived_is_not_taken_for_one_that_did(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"POST /servers": [BROKEN], "GET /servers?name=prod-servers-1": [listed("servers")]}
    done, said = ran(made(monkeypatch, answers)[0], new())
    assert not done
    assert said == "cannot tell whether POST servers was carried out: the connection broke; plan again"


CANDIDATES = [["cx32", "fsn1"], ["cx32", "nbg1"], ["cpx31", "hel1"]]
SOLD_OUT = refused("resource_unavailable", "error during placement", 412)


def test_a_server_is_bought_where_it_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    not_offered = refused("invalid_input", "unsupported location for server type", 422)
    answers = {"POST /servers": [SOLD_OUT, not_offered, (201, {"server": server(1), "action": action(1)})]}
    one, api = made(monkeypatch, answers)
    assert ran(one, new(candidates=CANDIDATES)) == (True, server(1))
    assert [(body["server_type"], body["location"]) for _, body in api.asked] == [tuple(each) for each in CANDIDATES]
    assert not [body for _, body in api.asked if "candidates" in body]


def test_the_error_lists_all_that_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    done, said = ran(made(monkeypatch, {"POST /servers": [SOLD_OUT]})[0], new(candidates=CANDIDATES))
    assert not done
    assert said.startswith(
        "cannot create server prod-servers-1: tried cx32 in fsn1 (resource_unavailable: error during placement), cx32 "
        "in nbg1 (resource_unavailable: error during placement), cpx31 in hel1 (resource_unavailable: error during "
        "placement)"
    )


@pytest.mark.parametrize("code", ["resource_limit_exceeded", "invalid_input", "unauthorized"])
def test_what_would_fail_everywhere_is_tried_once(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    one, api = made(monkeypatch, {"POST /servers": [refused(code, "you may not")]})
    done, said = ran(one, new(candidates=CANDIDATES))
    assert not done
    assert f"found {code}: you may not" in said
    assert len(api.calls) == 1


def test_a_half_created_server_is_not_bought_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = action(4, "error", error={"code": "resource_unavailable", "message": "no host"})
    one, api = made(monkeypatch, {"POST /servers": [(201, {"server": server(1), "action": failed})]})
    done, said = ran(one, new(candidates=CANDIDATES))
    assert not done
    assert "its action do_it failed: resource_unavailable: no host" in said
    assert len(api.calls) == 1


def test_an_action_without_parameters_has_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the API's description has it. Source: Hetzner Cloud API, poweron."""
    answers = {**dict(pages("servers", [server(1, "a")])), "POST /servers/1/actions/poweron": [(201, {"action": None})]}
    one, api = made(monkeypatch, answers)
    assert ran(one, "POST servers/a/actions/poweron {}") == (True, {})
    assert api.sent[-1].body is None


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


def test_a_write_is_seen_by_the_next_list_and_leaves_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        f"GET /networks?{FIRST}": [listed("networks"), listed("networks", {"id": 1, "name": "n", "labels": OURS})],
        **dict(pages("locations", [{"id": 1, "name": "fsn1"}])),
        "POST /networks": [(201, {"network": {"id": 1, "name": "n", "labels": OURS}})],
    }
    one, api = made(monkeypatch, answers)
    for command in ("GET networks", "GET locations", f"POST networks {json.dumps({'name': 'n', 'labels': OURS})}"):
        assert ran(one, command)[0]
    assert ran(one, "GET networks")[1] == [{"id": 1, "name": "n", "labels": OURS}]
    assert ran(one, "GET locations")[0]
    assert api.calls.count(f"GET /locations?{FIRST}") == 1


def test_reverse_dns_goes_to_the_address_that_the_object_has(monkeypatch: pytest.MonkeyPatch) -> None:
    public = {"ipv4": {"ip": "192.0.2.7"}, "ipv6": {"ip": "2001:db8:1::/64"}}
    answers = {
        **dict(pages("servers", [server(1, "a")])),
        "GET /servers/1": [(200, {"server": server(1, "a", public_net=public)})],
        "POST /servers/1/actions/change_dns_ptr": [(201, {"action": action(1)})],
    }
    one, api = made(monkeypatch, answers)
    for family in ("ipv4", "ipv6"):
        command = f'POST servers/a/actions/change_dns_ptr {{"ip": "{family}", "dns_ptr": "a.example"}}'
        assert ran(one, command) == (True, {})
    sent = [body["ip"] for what, body in api.asked if what.startswith("POST")]
    assert sent == ["192.0.2.7", "2001:db8:1::1"]


@pytest.mark.parametrize(
    ("until", "as_set"),
    [
        ({"protection": {"delete": True}}, True),
        ({"protection": {"delete": False}}, False),
        ({"rules": [{"port": "80"}, {"port": "22"}]}, True),
        ({"rules": [{"port": "22"}]}, False),
        ({"nothing": 1}, False),
    ],
)
def test_await_compares_what_was_set(monkeypatch: pytest.MonkeyPatch, until: Any, as_set: bool) -> None:
    found = server(1, "a", protection={"delete": True, "rebuild": True}, rules=[{"port": "22", "x": 1}, {"port": "80"}])
    answers = {
        **dict(pages("servers", [server(1, "a")])),
        "GET /servers/1": [(200, {"server": found})],
        "GET /servers/1/actions?status=running": [listed("actions")],
    }
    body = {"until": until, "within_s": 0}
    done, said = ran(made(monkeypatch, answers)[0], f"AWAIT servers/a {json.dumps(body)}")
    assert done is as_set
    assert done or re.match(r"cannot go on: servers/a is not as it was set within 0 s, found \w+ ", said)


def test_await_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = (200, {"server": server(1, "a", status="starting")})
    answers = {
        "GET /servers/1/actions?status=running": [listed("actions")],
        **dict(pages("servers", [server(1, "a")])),
        "GET /servers/1": [starting, starting, (200, {"server": server(1, "a")})],
    }
    one, api = made(monkeypatch, answers)
    assert ran(one, 'AWAIT servers/a {"until": {"status": "running"}}')[0]
    assert api.calls.count("GET /servers/1") == 3


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


def test_prices_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, api = made(monkeypatch, {"GET /pricing": [(200, {"pricing": {"currency": "EUR"}})]})
    assert ran(one, "GET pricing") == ran(one, "GET pricing") == (True, {"currency": "EUR"})
    assert len(api.calls) == 1
    one.disconnect()
    assert ran(one, "GET pricing")[0]
    assert len(api.calls) == 2


def test_pyinfra_finds_the_connector() -> None:
    root = Path(__file__).parent.parent.parent
    found = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]["pyinfra.connectors"]
    module, _, name = found["hcloud"].partition(":")
    assert getattr(import_module(module), name) is HcloudConnector
