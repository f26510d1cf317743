"""Creating at `@hcloud`: taken over if the answer was lost, never twice, and servers where they can be had."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.unit.hcloud_answers import BROKEN, action, listed, made, new, ran, refused, server

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
