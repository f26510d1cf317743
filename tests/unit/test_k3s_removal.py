"""Who takes a node out of a K3s cluster, in which order, and what stops it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import FunctionCommand, StringCommand

from facts.k3s_api import DOWN
from facts.k3s_departed import Authority
from operations import k3s_removal, k3s_removal_gate
from operations.k3s_removal_gate import Membership
from unterbau.changes import Record, recording
from unterbau.domain.etcd_membership import Disk
from unterbau.domain.unknown import UNKNOWN

ADDRESSES = {"srv-1": "10.77.0.11", "srv-2": "10.77.0.12", "srv-3": "10.77.0.13"}
READY = {"ping": True, "etcd": True, "etcd-readiness": True}


def cluster(*without: str, removed: tuple[str, ...] = ()) -> Membership:
    servers = {name: address for name, address in ADDRESSES.items() if name not in without}
    return Membership(servers, ["wrk-1"], {name: ADDRESSES.get(name, "") for name in removed})


def node(name: str, ready: bool = True) -> dict[str, Any]:
    server = name.startswith("srv")
    return {
        "ready": ready, "version": "v1.34.4+k3s1", "schedulable": True, "cordoned_by_us": None,
        "roles": ["control-plane", "etcd", "master"] if server else [], "labels": {}, "taints": [],
        "address": ADDRESSES.get(name, "10.77.0.21"), "etcd_name": f"{name}-aaaaaaaa" if server else None,
        "etcd_removed": None, "arguments": {}, "uid": name,
    }  # fmt: skip


def member(name: str, address: str, number: int, learner: bool = False) -> dict[str, Any]:
    return {
        "id": f"{number:x}", "name": name, "peer_urls": [f"https://{address}:2380"], "client_urls": [],
        "learner": learner, "started": bool(name),
    }  # fmt: skip


def known(*down: str, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    nodes = {name: node(name, name not in down) for name in [*ADDRESSES, "wrk-1", *extra]}
    api = {"answers": True, "ready": READY, "nodes": nodes}
    members = [member(f"{name}-aaaaaaaa", at, number) for number, (name, at) in enumerate(ADDRESSES.items(), start=1)]
    return {
        "servers": {name: DOWN if name in down else api for name in ADDRESSES},
        "nodes": nodes,
        "passwords": sorted(nodes),
        "etcd": {"set_up": True, "answers": True, "members": members},
    }


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Disk]:
    """What the machines of this run have on their disks."""
    found = {name: Disk(f"{name}-aaaaaaaa", password=True) for name in ADDRESSES} | {"wrk-1": Disk(None, password=True)}
    monkeypatch.setattr(k3s_removal_gate, "disks", lambda state, names: {n: found[n] for n in names if n in found})
    return found


class _Host:
    """A host that knows nothing of others and remembers why it had nothing to do."""

    def __init__(self, found: Any) -> None:
        self.name, self.said, self.found = "srv-1", "", found
        self.state = SimpleNamespace(inventory=[], active_hosts=set(), is_executing=False)

    def noop(self, why: str) -> None:
        self.said = why

    def get_fact(self, *args: Any, **kwargs: Any) -> Any:
        return self.found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, disks: dict[str, Disk]) -> Iterator[Any]:
    def execute(found: Any, declared: Membership, me: str = "srv-1") -> tuple[list[str], Record, str]:
        host = _Host(found)
        monkeypatch.setattr(k3s_removal, "host", host)
        with recording() as record:
            commands = list(k3s_removal.departed._inner(declared, node=me))  # type: ignore[attr-defined]
        return [_words(command) for command in commands], record, host.said

    yield execute


def _words(command: Any) -> str:
    if isinstance(command, FunctionCommand):
        return f"{command.function.__name__}: {command.args[0]}"
    assert isinstance(command, StringCommand)
    return command.get_raw_value().replace(k3s_removal.KUBECTL, "kubectl")


def test_nobody_leaves_where_all_are_declared(run: Any) -> None:
    commands, record, said = run(known(), cluster())
    assert (commands, record.rules, said) == ([], [], "everybody in the cluster is declared")


def test_one_server_acts(run: Any) -> None:
    assert run(known(), cluster("srv-3", removed=("srv-3",)), "srv-2")[2] == "srv-1 sees to it"
    assert run(known("srv-1"), cluster("srv-3", removed=("srv-3",)), "srv-2")[1].changes  # the first is down
    assert run(known(*ADDRESSES), cluster())[2] == "no server's API is ready: nobody can be removed"


def test_a_server_that_was_told_to_leave(run: Any) -> None:
    commands, record, _ = run(known(), cluster("srv-2", removed=("srv-2",)))
    assert commands == [
        "kubectl drain srv-2 --ignore-daemonsets --delete-emptydir-data --timeout=300s",
        "ask_quorum_again: srv-2-aaaaaaaa",
        "kubectl annotate node srv-2 etcd.k3s.cattle.io/remove=true --overwrite",
        "wait_until_it_is_out: srv-2",
        "kubectl delete node srv-2 --ignore-not-found --timeout=60s",
        "kubectl --namespace=kube-system delete secret srv-2.node-password.k3s --ignore-not-found",
        "wait_until_it_is_out: srv-2",
    ]
    assert [(rule.name, rule.passed, rule.arithmetic) for rule in record.rules] == [
        ("deletions are allowed by name", True, "srv-2: told to leave"),
        (
            "etcd keeps its quorum",
            True,
            "removing srv-2-aaaaaaaa leaves 2 healthy of 2 voters, quorum of 2 needs 2",
        ),
    ]


def test_a_server_does_not_leave_while_another_is_down(run: Any) -> None:
    commands, record, _ = run(known("srv-3"), cluster("srv-2", removed=("srv-2",)))
    (refusal,) = commands
    assert refusal.startswith("_fail_this_host: refused by the rule 'etcd keeps its quorum': removing srv-2-aaaaaaaa")
    assert "leaves 1 healthy of 2 voters, quorum of 2 needs 2; bring srv-3-aaaaaaaa back" in refusal
    assert [rule.passed for rule in record.rules] == [True, False]


def test_of_two_that_leave_the_dead_one_goes_first(run: Any) -> None:
    commands, _, _ = run(known("srv-3"), cluster("srv-2", "srv-3", removed=("srv-2", "srv-3")))
    order = [line for line in commands if line.startswith(("kubectl drain", "kubectl annotate", "kubectl delete"))]
    assert [line.split(" --")[0] for line in order] == [
        "kubectl annotate node srv-3 etcd.k3s.cattle.io/remove=true",  # a dead node is not drained
        "kubectl delete node srv-3",
        "kubectl drain srv-2",
        "kubectl annotate node srv-2 etcd.k3s.cattle.io/remove=true",
        "kubectl delete node srv-2",
    ]


def test_who_is_not_declared_and_not_named_is_refused_and_nothing_is_done(run: Any) -> None:
    commands, record, _ = run(known(), cluster("srv-2"))
    assert len(commands) == 1
    assert record.rules[0].arithmetic == (
        "in the cluster and not declared: srv-2; declare them, or name them in k3s_removed"
    )
    assert not record.rules[0].passed


def test_the_first_machine_is_a_new_one(run: Any, disks: dict[str, Disk]) -> None:
    """srv-2 acts, since srv-1 has nothing; the old member leaves before the new machine joins."""
    disks["srv-1"] = Disk(None, password=False)
    commands, record, _ = run(known("srv-1"), cluster(), "srv-2")
    assert commands == [
        "ask_quorum_again: srv-1-aaaaaaaa",
        "kubectl annotate node srv-1 etcd.k3s.cattle.io/remove=true --overwrite",
        "wait_until_it_is_out: srv-1",
        "kubectl delete node srv-1 --ignore-not-found --timeout=60s",
        "kubectl --namespace=kube-system delete secret srv-1.node-password.k3s --ignore-not-found",
        "wait_until_it_is_out: srv-1",
    ]
    assert [change.subject for change in record.changes] == [
        "node srv-1",
        "etcd member srv-1-aaaaaaaa",
        "password of node srv-1",
    ]


def test_a_machine_that_does_not_answer_is_not_a_new_one(run: Any, disks: dict[str, Disk]) -> None:
    del disks["srv-1"]
    assert run(known("srv-1"), cluster(), "srv-2")[0] == []


def test_a_new_agent_under_an_old_name(run: Any, disks: dict[str, Disk]) -> None:
    disks["wrk-1"] = Disk(None, password=False)
    commands, record, _ = run(known(), cluster())
    assert [line.split(" --")[0] for line in commands] == [
        "kubectl delete node wrk-1",
        "kubectl",
        "wait_until_it_is_out: wrk-1",
    ]
    assert record.rules == []  # no vote is at stake


def test_a_machine_on_which_k3s_runs_is_none_without_a_past(run: Any, disks: dict[str, Disk]) -> None:
    """Somebody deleted its password: it works all the same."""
    disks["wrk-1"] = Disk(None, password=False, running=True)
    assert run(known(), cluster())[0] == []


def test_a_disk_says_whether_k3s_runs() -> None:
    for active, runs in (("active", True), ("activating", True), ("inactive", False), ("failed", False)):
        traces = {"member": None, "password": False, "active": {"k3s.service": "inactive", "k3s-agent.service": active}}
        disk = k3s_removal_gate._disk(SimpleNamespace(get_fact=lambda fact, told=traces: told))  # type: ignore[arg-type]
        assert disk == Disk(None, password=False, running=runs)


def test_a_member_that_no_node_speaks_of_is_removed_by_etcd_itself(run: Any) -> None:
    found = known()
    found["etcd"]["members"].append(member("srv-2-bbbbbbbb", "10.77.0.99", 9))
    commands, record, _ = run(found, cluster())
    assert commands[0] == "ask_quorum_again: srv-2-bbbbbbbb"
    assert """--data '{"ID": "9"}' https://127.0.0.1:2382/v3/cluster/member/remove""" in commands[1]
    assert len(commands) == 3  # the Node is that of the other member
    assert record.rules[-1].arithmetic == "removing srv-2-bbbbbbbb leaves 3 healthy of 3 voters, quorum of 3 needs 2"


def test_a_machine_without_data_whose_member_works_is_somebody_elses_riddle(run: Any, disks: dict[str, Disk]) -> None:
    disks["srv-3"] = Disk(None, password=False)
    assert "see which machine has the address 10.77.0.13" in run(known(), cluster())[0][0]


@pytest.fixture
def errors() -> list[str]:
    return []


def gate_host(found: Any, errors: list[str]) -> Any:
    return SimpleNamespace(
        get_fact=lambda *args, **kwargs: found,
        log_styled=lambda sentence, **kwargs: errors.append(sentence),
    )


def test_the_arithmetic_is_asked_again_when_it_is_done(errors: list[str]) -> None:
    """A node died after the plan was made."""
    declared = cluster("srv-2", removed=("srv-2",))
    leaving = k3s_removal_gate.members_of(known())[1]  # type: ignore[arg-type]
    gate = k3s_removal_gate.still_may_leave(declared, "srv-1", leaving).function
    assert gate(None, gate_host(known(), errors), leaving.label)
    assert not gate(None, gate_host(known("srv-3"), errors), leaving.label)
    assert errors[0].startswith("cannot remove srv-2-aaaaaaaa: removing srv-2-aaaaaaaa leaves 1 healthy of 2 voters")
    assert not gate(None, gate_host(UNKNOWN, errors), leaving.label)


def test_out_is_who_is_in_none_of_the_clusters_lists() -> None:
    found = known()
    said = [k3s_removal_gate.there(found, "srv-2", (), all_of_it=True)]  # type: ignore[arg-type]
    found["etcd"]["members"].pop(1)
    said.append(k3s_removal_gate.there(found, "srv-2", (), all_of_it=True))  # type: ignore[arg-type]
    del found["nodes"]["srv-2"]
    said.append(k3s_removal_gate.there(found, "srv-2", (), all_of_it=True))  # type: ignore[arg-type]
    found["passwords"].remove("srv-2")
    said.append(k3s_removal_gate.there(found, "srv-2", (), all_of_it=True))  # type: ignore[arg-type]
    assert said == [
        "etcd still has the member srv-2-aaaaaaaa",
        "there is still a Node srv-2",
        "there is still a password of srv-2",
        None,
    ]


def test_not_to_know_is_not_to_be_out() -> None:
    silent = {**known(), "nodes": None}
    assert k3s_removal_gate.there(silent, "srv-2", (), all_of_it=True) == "its API does not answer"  # type: ignore[arg-type]
    lost = {**known(), "etcd": {"set_up": True, "answers": False, "members": None}}
    assert k3s_removal_gate.there(lost, "srv-2", (), all_of_it=True) == "its etcd does not answer"  # type: ignore[arg-type]


UNTOLD: list[tuple[dict[str, Any], str]] = [
    ({"nodes": None}, "its API does not answer"),
    ({"passwords": None}, "its API does not answer"),
    ({"etcd": {"set_up": True, "answers": False, "members": None}}, "its etcd does not answer"),
]


@pytest.mark.parametrize(("unread", "said"), UNTOLD)
def test_who_was_not_listed_is_not_taken_for_gone(run: Any, errors: list[str], unread: Any, said: str) -> None:
    declared = cluster("srv-2", removed=("srv-2",))
    (refusal,), record, _ = run({**known(), **unread}, declared)
    assert f"cannot say who leaves: srv-1 works, and yet {said}" in refusal
    assert record.changes == []
    leaving = k3s_removal_gate.members_of(known())[1]  # type: ignore[arg-type]
    gate = k3s_removal_gate.still_may_leave(declared, "srv-1", leaving).function
    assert not gate(None, gate_host({**known(), **unread}, errors), leaving.label)
    assert said in errors[0]


def state_of(*found: tuple[str, Any], authority: Any = "of this cluster") -> Any:
    hosts = [_machine(name, one, authority) for name, one in found]
    return SimpleNamespace(inventory=hosts, active_hosts=hosts)


def _machine(name: str, found: Any, authority: Any = "of this cluster") -> Any:
    data = SimpleNamespace(get={"node": SimpleNamespace(name=name)}.get)

    def get_fact(fact: Any, **kwargs: Any) -> Any:
        return authority if fact is Authority else found

    return SimpleNamespace(data=data, get_fact=get_fact)


def gone() -> dict[str, Any]:
    found = known()
    found["etcd"]["members"].pop(1)
    del found["nodes"]["srv-2"]
    found["passwords"].remove("srv-2")
    return found


def still_in(state: Any, authority: Any = "of this cluster") -> str | None:
    machine = _machine("srv-2", None, authority)
    return k3s_removal_gate.still_in(state, cluster("srv-2", removed=("srv-2",)), "srv-2", machine)


def test_data_are_wiped_only_after_a_server_that_serves_has_said_that_they_are_nobodys() -> None:
    assert still_in(state_of(("srv-1", gone()))) is None
    assert still_in(state_of(("srv-1", UNKNOWN), ("srv-3", gone()))) is None
    asked_in_vain = "no server could be asked whether it is out; bring one back, then apply again"
    assert still_in(state_of(("srv-1", UNKNOWN))) == asked_in_vain
    assert still_in(state_of(("srv-2", gone()))) == asked_in_vain  # its own word
    said = still_in(state_of(("srv-1", known())))
    assert said == "etcd still has the member srv-2-aaaaaaaa; see why it was not removed, then apply again"


def test_a_server_of_another_cluster_cannot_say_that_data_are_nobodys() -> None:
    assert still_in(state_of(("srv-1", gone())), authority=None) is None  # nothing that would be of a cluster
    said = still_in(state_of(("srv-1", gone())), authority="of the one that was there before") or ""
    assert said.startswith("its data belong to another cluster than the one of srv-1")
    for own, told in ((UNKNOWN, "of this cluster"), ("of this cluster", UNKNOWN)):
        said = still_in(state_of(("srv-1", gone()), authority=told), authority=own) or ""
        assert said == "which cluster its data are of could not be read; see the error above"
