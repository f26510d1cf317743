"""Nobody is deleted who has not left: the rule of a plan, and the gate right before."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from operations.hcloud_departure import has_left, nobody_failed, waiting
from unterbau.domain.unknown import UNKNOWN

CLEAN = {"active": {"k3s.service": "inactive", "k3s-agent.service": "failed"}, "paths": [], "mounts": []}


@pytest.mark.parametrize("nodes", [{}, {"wrk-3": True}, {"wrk-3": True, "wrk-4": True, "wrk-1": False}])
def test_nobody_waits_in_a_run_with_all_of_them(nodes: dict[str, bool]) -> None:
    assert waiting(["wrk-3", "wrk-4"], nodes, whole=True) == []


def test_a_node_outside_of_the_limit_is_not_deleted() -> None:
    assert waiting(["wrk-3", "wrk-4"], {"wrk-3": True, "wrk-4": False}, whole=False) == ["wrk-4"]


def test_a_server_that_is_no_node_any_more_waits_for_a_run_that_asks_its_cluster() -> None:
    assert waiting(["wrk-3", "wrk-4"], {"wrk-3": True}, whole=False) == ["wrk-4"]


class Node:
    """A machine that leaves, with what is left on it."""

    def __init__(self, traces: Any = CLEAN, **data: Any) -> None:
        known: dict[str, Any] = {"leaving": True, "node": SimpleNamespace(name="wrk-3"), "k3s": object(), **data}
        self.data = SimpleNamespace(**known, get=known.get)
        self._traces = traces

    def get_fact(self, fact: Any) -> Any:
        assert fact.__name__ == "Traces"
        if isinstance(self._traces, Exception):
            raise self._traces
        return self._traces


def left(caplog: pytest.LogCaptureFixture, *nodes: Node, active: bool = True) -> tuple[bool, str]:
    state = SimpleNamespace(inventory=list(nodes), active_hosts=set(nodes) if active else set())
    caplog.set_level(logging.ERROR)
    gate = has_left("wrk-3")
    done = gate.function(state, SimpleNamespace(print_prefix=""), *gate.args)
    return done, caplog.text


@pytest.mark.parametrize("node", [Node(), Node(k3s=None)])
def test_one_that_has_left_may_go(caplog: pytest.LogCaptureFixture, node: Node) -> None:
    assert left(caplog, node)[0]


@pytest.mark.parametrize(
    ("traces", "said"),
    [
        ({**CLEAN, "paths": ["/var/lib/rancher/k3s"]}, "found /var/lib/rancher/k3s of K3s on its node"),
        ({**CLEAN, "active": {"k3s.service": "deactivating"}}, "found k3s.service of K3s"),
        ({**CLEAN, "mounts": ["/run/k3s/x"]}, "found mounts of pods of K3s"),
        (UNKNOWN, "what K3s left on its node could not be read"),
        (PyinfraError("the connection broke"), "its node could not be asked whether K3s has left it"),
        (OSError("no route to host"), "its node could not be asked whether K3s has left it"),
    ],
)
def test_one_that_has_not_left_stays(caplog: pytest.LogCaptureFixture, traces: Any, said: str) -> None:
    done, told = left(caplog, Node(traces))
    assert not done
    assert f"cannot delete server wrk-3: {said}" in told


def test_what_is_on_a_node_counts_and_not_what_its_groups_declare(caplog: pytest.LogCaptureFixture) -> None:
    """One that leaves is in no group: what is declared for the group of the servers is not its data any more."""
    assert not left(caplog, Node({**CLEAN, "active": {"k3s.service": "active"}}, k3s=None))[0]


def test_one_whose_node_failed_stays(caplog: pytest.LogCaptureFixture) -> None:
    done, told = left(caplog, Node(), active=False)
    assert not done
    assert "its node failed in this run, or was left out of it" in told


def test_one_that_went_out_of_the_inventory_stays(caplog: pytest.LogCaptureFixture) -> None:
    assert not left(caplog)[0]


@pytest.mark.parametrize(("failed", "done"), [([], True), (["srv-1"], False)])
def test_one_that_is_off_goes_if_nobody_failed(caplog: pytest.LogCaptureFixture, failed: list[str], done: bool) -> None:
    caplog.set_level(logging.ERROR)
    hosts = [SimpleNamespace(name=name, data={"node": object()}) for name in failed]
    gate = nobody_failed("wrk-3")
    assert gate.function(SimpleNamespace(failed_hosts=hosts), SimpleNamespace(print_prefix=""), *gate.args) is done
    assert done or "srv-1 failed in this run, and may still count on it" in caplog.text
