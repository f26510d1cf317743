"""Who leaves, who joins and who restarts in one plan: refused is what would cost the majority, and nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyinfra.api import StringCommand

from facts.etcd import SILENT
from facts.k3s_api import DOWN, NodeState, ServerApi, node_of
from operations import k3s, k3s_ahead, k3s_gate, k3s_reboot, k3s_removal_gate, k3s_rotation
from operations.k3s_config import Cluster, Node, Tokens
from tests.unit.test_architecture import operation_calls
from unterbau.changes import recording
from unterbau.domain.etcd import token_hash
from unterbau.domain.etcd_membership import Disk, Member, steps
from unterbau.domain.quorum import needed
from unterbau.secrets.hidden import Hidden

THREE = ("srv-1", "srv-2", "srv-3")
SERIAL = ["operations.k3s.admitted", "operations.k3s.server", "operations.k3s_reboot.rebooted"]
NEW = Disk(None, password=False)


def node(name: str, servers: tuple[str, ...] = THREE, removed: tuple[str, ...] = ()) -> Node:
    cluster = Cluster(servers={one: f"10.77.0.{number}" for number, one in enumerate(servers)}, agents={})
    return Node(name, "server", Cluster(cluster.servers, {}, removed=removed), "/opt/k3s", "v1.34.4+k3s1")


def member(label: str) -> Any:
    return {"id": label, "name": label, "peer_urls": [], "client_urls": [], "learner": False, "started": True}


def cluster(members: dict[str, bool], servers: tuple[str, ...] = THREE) -> Any:
    """As a server tells: `members` maps "<node>-<8 hex>" to whether it is alive."""
    ready: NodeState = {**node_of({"metadata": {"name": "x"}}), "ready": True}
    alive = [label[:-9] for label, lives in members.items() if lives]
    api: ServerApi = {"answers": True, "ready": {"ping": True}, "nodes": dict.fromkeys(alive, ready)}
    leads = "1" if len(alive) >= needed(len(members)) else None
    return {
        "servers": {name: api if name in alive else DOWN for name in servers},
        "nodes": None,
        "etcd": {**SILENT, "answers": True, "leader_id": leads, "members": [member(label) for label in members]},
    }


@pytest.fixture(autouse=True)
def disks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Disk]:
    """What the machines of this run have on their disks; the plan is being made."""
    found: dict[str, Disk] = {}
    asked = lambda state, names: {name: found[name] for name in names if name in found}  # noqa: E731
    monkeypatch.setattr(k3s_removal_gate, "disks", asked)
    monkeypatch.setattr(k3s_ahead, "host", SimpleNamespace(state=SimpleNamespace(is_executing=False)))
    return found


REPLACED = {"srv-1-0123abcd": False, "srv-2-0123abcd": True, "srv-3-0123abcd": True}
HEALED = "once srv-1-0123abcd left and srv-1 joined: restarting srv-2 leaves 2 of 3 members, quorum needs 2"


def test_the_member_of_a_machine_that_was_made_anew_refuses_no_restart_of_the_others(disks: dict[str, Disk]) -> None:
    disks["srv-1"] = NEW
    now = k3s_gate.restartable(node("srv-2"), cluster(REPLACED))
    assert (now.passed, "leaves 1 of 3 members" in now.arithmetic) == (False, True)
    for ahead in (k3s_ahead.restartable, k3s_ahead.arithmetic):
        verdict = ahead(node("srv-2"), cluster(REPLACED))
        assert (verdict.passed, verdict.arithmetic) == (True, HEALED)


def test_a_server_that_is_down_or_not_in_this_run_counts(disks: dict[str, Disk]) -> None:
    for disk in (None, Disk("srv-1-0123abcd", password=True)):
        if disk is not None:
            disks["srv-1"] = disk
        verdict = k3s_ahead.restartable(node("srv-2"), cluster(REPLACED))
        assert (verdict.passed, "srv-1 must serve first" in verdict.arithmetic) == (False, True)


def test_when_it_is_carried_out_only_what_is_there_counts(
    disks: dict[str, Disk], monkeypatch: pytest.MonkeyPatch
) -> None:
    disks["srv-1"] = NEW
    monkeypatch.setattr(k3s_ahead.host.state, "is_executing", True)
    assert not k3s_ahead.restartable(node("srv-2"), cluster(REPLACED)).passed
    left = {label: lives for label, lives in REPLACED.items() if lives}
    assert not k3s_ahead.restartable(node("srv-2"), cluster(left)).passed  # nobody has joined
    assert k3s_ahead.restartable(node("srv-2"), cluster({**left, "srv-1-9999ffff": True})).passed


def test_who_was_told_to_leave_makes_room_for_another_one(disks: dict[str, Disk]) -> None:
    servers = ("srv-1", "srv-3", "srv-4")
    disks["srv-4"] = NEW
    there = cluster({f"{name}-0123abcd": True for name in THREE}, servers)
    verdict = k3s_ahead.restartable(node("srv-1", servers, ("srv-2",)), there)
    assert (verdict.passed, verdict.arithmetic.partition(":")[0]) == (True, "once srv-2-0123abcd left and srv-4 joined")
    assert not k3s_ahead.restartable(node("srv-1", servers), there).passed  # nobody has told it to


def test_of_servers_that_work_no_disk_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(k3s_removal_gate, "disks", lambda state, names: asked.extend(names) or {})
    k3s_ahead.restartable(node("srv-2"), cluster({f"{name}-0123abcd": True for name in THREE}))
    assert asked == []
    k3s_ahead.restartable(node("srv-2"), cluster(REPLACED))
    assert asked == ["srv-1"]


def test_an_etcd_elsewhere_has_no_members_of_ours(disks: dict[str, Disk]) -> None:
    outside = node("srv-2")
    outside = Node("srv-2", "server", Cluster(outside.cluster.servers, {}, datastore=("https://x",)), "/opt/k3s", "v1")
    disks["srv-1"] = NEW
    assert k3s_ahead.arithmetic(outside, cluster(REPLACED)).arithmetic == "srv-3 would answer while srv-2 restarts"


def test_whoever_restarts_a_server_looks_ahead(disks: dict[str, Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    disks["srv-1"] = NEW
    found: Any = {"has_data": True, "active": "active"}
    monkeypatch.setattr(k3s_gate, "asked_here", lambda host, node: cluster(REPLACED))
    monkeypatch.setattr(k3s_reboot.k3s_ready, "cluster_of", lambda host, node, found: cluster(REPLACED))
    monkeypatch.setattr(k3s_reboot, "ctx_host", SimpleNamespace(get=lambda: None))
    with recording() as record:
        list(k3s_rotation._restarted(node("srv-2"), "for new certificates", StringCommand("true")))
        list(k3s_reboot._allowed(node("srv-2"), found))
    assert [(rule.passed, rule.arithmetic) for rule in record.rules] == [(True, HEALED)] * 2


def test_nobody_joins_while_the_token_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers know the one before until they restart, and two of three cannot before the third has joined."""
    found: Any = {"has_data": False, "active": "inactive"}
    went_on: list[str] = []
    told: list[list[str] | None] = [[str(token_hash("the-one-before"))]]
    monkeypatch.setattr(k3s_gate, "state_of", lambda host, node: found)
    monkeypatch.setattr(k3s.k3s_founding, "founds", lambda node, found: False)
    monkeypatch.setattr(k3s.k3s_rotation_gate, "told", lambda host, node: told[-1])
    monkeypatch.setattr(k3s, "ctx_host", SimpleNamespace(get=lambda: None))
    monkeypatch.setattr(k3s, "_converged", lambda node, tokens, found: went_on.append(node.node) or iter(()))
    tokens = Tokens(agent=Hidden("agents"), server=Hidden("the-newest"))
    with recording() as record:
        assert len(list(k3s.admitted._inner(node("srv-1"), tokens))) == 1  # type: ignore[attr-defined]
    assert [(rule.name, rule.passed) for rule in record.rules] == [("who joins K3s is let in", False)]
    for now in ([str(token_hash("the-newest"))], [], None):
        told.append(now)
        assert list(k3s.admitted._inner(node("srv-1"), tokens)) == []  # type: ignore[attr-defined]
    assert went_on == ["srv-1"] * 3


def test_a_majority_that_is_there_is_not_taken_for_lost(disks: dict[str, Disk]) -> None:
    """Two that leave could not be asked: one of them votes, or there would be no leader."""
    one = node("srv-1", ("srv-1",), ("srv-2", "srv-3"))
    there = cluster({"srv-1-0123abcd": True, "srv-2-0123abcd": True, "srv-3-0123abcd": False}, ("srv-1",))
    verdict = k3s_gate.restartable(one, there)
    assert (verdict.passed, "and yet etcd has a leader" in verdict.arithmetic) == (False, True)
    there["etcd"]["leader_id"] = None
    there["etcd"]["answers"] = False
    assert k3s_gate.restartable(one, there).passed
    assert k3s_ahead.restartable(one, cluster({"srv-1-0123abcd": True, "srv-2-0123abcd": True})).passed


def test_all_have_joined_before_anybody_restarts() -> None:
    """pyinfra goes by the lines of a deploy."""
    text = (Path(__file__).parent.parent.parent / "deploys" / "k3s.py").read_text()
    calls = {name: call for name, call in operation_calls(text) if name in SERIAL}
    assert sorted(SERIAL, key=lambda name: calls[name].lineno) == SERIAL
    for call in calls.values():
        assert "_serial" in {keyword.arg for keyword in call.keywords}


class Model:
    """A cluster that a plan is made for, and carried out on."""

    def __init__(self, declared: list[str], leaving: list[bool]) -> None:
        self.servers = tuple(f"srv-{number}" for number in range(len(declared)))
        self.kinds = dict(zip(self.servers, declared, strict=True))
        self.removed = tuple(f"old-{number}" for number in range(len(leaving)))
        self.alive = {f"{name}-0123abcd": kind == "works" for name, kind in self.kinds.items() if kind != "new"}
        self.alive |= {f"{name}-0123abcd": lives for name, lives in zip(self.removed, leaving, strict=True)}

    def disks(self) -> dict[str, Disk]:
        anew = ("new", "replaced")
        return {name: NEW if k in anew else Disk(f"{name}-0123abcd", password=True) for name, k in self.kinds.items()}

    def departures(self) -> Any:
        members = [Member(label, label, "", healthy=lives) for label, lives in self.alive.items()]
        stale = {f"{name}-0123abcd" for name, kind in self.kinds.items() if kind == "replaced"}
        return steps(members, stale | {f"{name}-0123abcd" for name in self.removed})

    def majority(self, without: str | None = None) -> bool:
        left = sum(lives for label, lives in self.alive.items() if label != without)
        return left >= needed(len(self.alive))

    def restart(self, asked: Any, name: str) -> Any:
        return asked(node(name, self.servers, self.removed), cluster(self.alive, self.servers))


kinds = st.sampled_from(["works", "works", "works", "replaced", "new", "down"])


@settings(deadline=None, max_examples=400)
@given(
    declared=st.sampled_from([1, 3, 5]).flatmap(lambda count: st.lists(kinds, min_size=count, max_size=count)),
    leaving=st.lists(st.booleans(), max_size=4), joins_fail=st.booleans(),
)  # fmt: skip
def test_what_the_plan_lets_through_keeps_the_majority_and_the_gates_let_it_through(
    declared: list[str], leaving: list[bool], joins_fail: bool
) -> None:
    model = Model(declared, leaving)
    restarting = [name for name, kind in model.kinds.items() if kind == "works"]
    if not restarting or not model.majority():
        return
    planned = model.departures()
    goes = all(step.verdict.passed for step in planned)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(k3s_removal_gate, "disks", lambda state, names: {n: model.disks()[n] for n in names})
        patch.setattr(k3s_ahead, "host", SimpleNamespace(state=SimpleNamespace(is_executing=False)))
        verdicts = [model.restart(k3s_ahead.restartable, name) for name in restarting]
    assert not goes or all(one.passed for one in verdicts) == ("down" not in declared), verdicts
    if not goes or not all(one.passed for one in verdicts):
        return
    for step in planned:
        del model.alive[step.member.id]
        assert model.majority()
    joining = [name for name, kind in model.kinds.items() if kind in ("new", "replaced")]
    model.alive |= {} if joins_fail else {f"{name}-9999ffff": True for name in joining}
    for name in restarting:
        alone = len(model.alive) == 1
        lets_through = model.restart(k3s_gate.restartable, name).passed
        assert lets_through == (alone or model.majority(without=f"{name}-0123abcd"))
        assert lets_through or joins_fail
