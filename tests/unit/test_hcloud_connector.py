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

from tests.unit.hcloud_answers import FIRST, OURS, TOKEN, action, listed, made, new, pages, ran, server
from unterbau.connectors import hcloud_client
from unterbau.connectors.hcloud import HcloudConnector

NOBODY = requests.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused")))  # type: ignore[arg-type]


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


def test_an_action_without_parameters_has_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the API's description has it. Source: Hetzner Cloud API, poweron."""
    answers = {**dict(pages("servers", [server(1, "a")])), "POST /servers/1/actions/poweron": [(201, {"action": None})]}
    one, api = made(monkeypatch, answers)
    assert ran(one, "POST servers/a/actions/poweron {}") == (True, {})
    assert api.sent[-1].body is None


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
