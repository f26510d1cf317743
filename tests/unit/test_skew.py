"""Versions of K3s: their order, and which way a cluster may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain.skew import ETCD_3_6, ETCD_REPAIRED, Version, parse, step, upgrade, waiting

NEW, OLD = "v1.34.4+k3s1", "v1.33.13+k3s1"
IN_ORDER = (
    "v1.32.9+k3s1", "v1.33.7-rc1+k3s1", "v1.33.7-rc2+k3s1", "1.33.7", "v1.33.7+k3s1", "v1.33.7+k3s3",
    "v1.33.7+k3s10", "v1.33.13+standin", "v1.33.13+k3s1", "v1.34.0+k3s1", "v2.0.0",
)  # fmt: skip


def test_versions_are_in_order() -> None:
    versions = [parse(text) for text in IN_ORDER]
    assert versions == sorted(versions)
    assert len(set(versions)) == len(versions)


@pytest.mark.parametrize(
    "text", ["", "1.33", "v1.33.x", "v1.33.7 ", "v1.33.7+", "v1.33.7; reboot", "vv1.33.7", "\u0661.\u0662.\u0663"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no version of K3s such as"):
        parse(text)


def test_a_stand_in_is_the_version_it_stands_for() -> None:
    assert parse("v1.34.4+standin") == parse("1.34.4") == Version(1, 34, 4)


REFUSED = {
    "a minor skipped": (
        {"srv-1": "v1.32.1+k3s1"}, {}, NEW,
        "cannot take srv-1 from v1.32.1+k3s1 to v1.34.4+k3s1: 1.33 is skipped; declare 1.33.x first",
    ),
    "two skipped": (
        {"srv-1": "v1.31.1+k3s1"}, {}, NEW,
        "cannot take srv-1 from v1.31.1+k3s1 to v1.34.4+k3s1: 1.32 and 1.33 are skipped; declare 1.32.x first",
    ),
    "an upgrade half done, and another one behind it": (
        {"srv-1": "v1.34.4+k3s1", "srv-2": "v1.33.13+k3s1"}, {}, "v1.35.1+k3s1",
        "cannot take srv-2 from v1.33.13+k3s1 to v1.35.1+k3s1: 1.34 is skipped; declare 1.34.x first",
    ),
    "a minor taken back": (
        {"srv-1": NEW}, {}, OLD,
        "cannot take srv-1 from v1.34.4+k3s1 to v1.33.13+k3s1: a minor version is never taken back; restore a "
        "snapshot taken under 1.33 instead",
    ),
    "etcd taken back in the same minor": (
        {"srv-1": OLD}, {}, "v1.33.8+k3s1",
        "cannot take srv-1 from v1.33.13+k3s1 to v1.33.8+k3s1: etcd would go back from 3.6 to 3.5; declare v1.33.13 "
        "or later",
    ),
    "etcd 3.6 without the stop": (
        {"srv-1": "v1.33.7+k3s3", "srv-2": "v1.33.7+k3s1"}, {}, NEW,
        "cannot take srv-2 from v1.33.7+k3s1 to v1.34.4+k3s1: it goes from etcd 3.5 to 3.6, which needs etcd 3.5.26 "
        "on every server before; declare v1.33.7+k3s3, or a later one before v1.33.13, first",
    ),
    "etcd 3.6 without the stop, in the same minor": (
        {"srv-1": "v1.33.6+k3s1"}, {}, OLD,
        "cannot take srv-1 from v1.33.6+k3s1 to v1.33.13+k3s1: it goes from etcd 3.5 to 3.6, which needs etcd 3.5.26 "
        "on every server before; declare v1.33.7+k3s3, or a later one before v1.33.13, first",
    ),
    "a kubelet four older": (
        {"srv-1": OLD}, {"wrk-1": "v1.30.1+k3s1"}, NEW,
        "cannot take wrk-1 from v1.30.1+k3s1 to v1.34.4+k3s1: servers come first, and then its kubelet is 4 minor "
        "versions older, 3 are allowed; take it to 1.31.x first",
    ),
    "a kubelet newer": (
        {"srv-1": OLD}, {"wrk-1": "v1.35.0+k3s1"}, NEW,
        "cannot take wrk-1 from v1.35.0+k3s1 to v1.34.4+k3s1: a kubelet is never newer than an API server, nor taken "
        "back; declare 1.35.x or later",
    ),
    "another major": (
        {"srv-1": OLD}, {"wrk-1": OLD}, "v2.0.0+k3s1",
        "cannot take srv-1 from v1.33.13+k3s1 to v2.0.0+k3s1: nothing is known of the way from 1.x to 2.x; declare "
        "1.33.x",
    ),
    "what is no version": (
        {"srv-1": "unknown"}, {}, NEW,
        "cannot compare versions: srv-1: 'unknown' is no version of K3s such as v1.34.4+k3s1; see that every node "
        "answers, and the lock file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: tuple[dict[str, str], dict[str, str], str, str]) -> None:
    servers, agents, target, arithmetic = case
    verdict = upgrade(servers, agents, target)
    assert not verdict.passed
    assert verdict.arithmetic == arithmetic


ALLOWED = {
    "one minor": ({"srv-1": OLD, "srv-2": OLD}, {"wrk-1": OLD}, NEW,
                  "to v1.34.4+k3s1, from 1.33 to 1.34: 2 of 2 servers, then 1 of 1 agents"),
    "half done": ({"srv-1": NEW, "srv-2": OLD}, {"wrk-1": OLD}, NEW,
                  "to v1.34.4+k3s1, from 1.33 to 1.34: 1 of 2 servers, then 1 of 1 agents"),
    "done": ({"srv-1": NEW}, {"wrk-1": NEW}, NEW, "all of 2 nodes run v1.34.4+k3s1"),
    "a patch": ({"srv-1": "v1.34.1+k3s1"}, {}, NEW, "to v1.34.4+k3s1, within 1.34: 1 of 1 servers, then 0 of 0 agents"),
    "a patch back": ({"srv-1": NEW}, {}, "v1.34.1+k3s1",
                     "to v1.34.1+k3s1, within 1.34: 1 of 1 servers, then 0 of 0 agents"),
    "the stop": ({"srv-1": "v1.32.9+k3s1"}, {}, str(ETCD_REPAIRED),
                 "to v1.33.7+k3s3, from 1.32 to 1.33: 1 of 1 servers, then 0 of 0 agents"),
    "from the stop": ({"srv-1": str(ETCD_REPAIRED)}, {}, NEW,
                      "to v1.34.4+k3s1, from 1.33 to 1.34: 1 of 1 servers, then 0 of 0 agents"),
    "a kubelet three older": ({"srv-1": OLD}, {"wrk-1": "v1.31.1+k3s1"}, NEW,
                              "to v1.34.4+k3s1, from 1.31 to 1.34: 1 of 1 servers, then 1 of 1 agents"),
    "nobody yet": ({}, {}, NEW, "all of 0 nodes run v1.34.4+k3s1"),
}  # fmt: skip


@pytest.mark.parametrize("case", ALLOWED.values(), ids=ALLOWED)
def test_allowed(case: tuple[dict[str, str], dict[str, str], str, str]) -> None:
    servers, agents, target, arithmetic = case
    verdict = upgrade(servers, agents, target)
    assert verdict.passed
    assert verdict.arithmetic == arithmetic


def test_an_agent_waits_for_all_servers() -> None:
    servers, agents = {"srv-1": NEW, "srv-2": OLD}, {"wrk-1": OLD, "wrk-2": "v1.30.0+k3s1"}
    verdict = step(servers, agents, "wrk-1", NEW)
    assert not verdict.passed
    assert verdict.arithmetic == (
        "cannot take wrk-1 to v1.34.4+k3s1 now: srv-2 runs v1.33.13+k3s1, and a kubelet is never newer than an API "
        "server; servers first"
    )
    assert step({"srv-1": NEW, "srv-2": NEW}, agents, "wrk-1", NEW).passed  # whatever the other agents run
    assert step(servers, agents, "srv-2", NEW).passed


def test_a_server_that_joins_brings_no_skipped_version() -> None:
    assert step({"srv-2": OLD, "srv-3": OLD}, {}, "srv-1", OLD).passed
    assert step({"srv-2": OLD, "srv-3": OLD}, {}, "srv-1", NEW).passed
    assert not step({"srv-2": OLD, "srv-3": OLD}, {}, "srv-1", "v1.35.0+k3s1").passed


def test_who_waits_comes_in_order() -> None:
    assert waiting({"b": OLD, "a": OLD, "c": NEW, "d": "v1.32.1+k3s1"}, NEW) == ["d", "a", "b"]


VERSIONS = st.builds(
    lambda minor, patch, release: f"v1.{minor}.{patch}+k3s{release}",
    st.integers(30, 36), st.integers(0, 15), st.integers(1, 3),
)  # fmt: skip
NODES = st.dictionaries(st.sampled_from(["a", "b", "c"]), VERSIONS, max_size=3)


@given(NODES, NODES, VERSIONS)
def test_what_passes_keeps_the_skew_after_every_step(
    servers: dict[str, str], agents: dict[str, str], target: str
) -> None:
    """Taken one by one, servers first: minors of servers are within one, no kubelet is more than three older."""
    agents = {f"agent-{name}": found for name, found in agents.items()}
    if not upgrade(servers, agents, target).passed:
        return
    for name in waiting(servers, target):
        assert step(servers, agents, name, target).passed
        servers = {**servers, name: target}
        minors = {parse(one).minor for one in servers.values()}
        assert max(minors) - min(minors) <= 1
        assert all(parse(target).minor - parse(one).minor <= 3 for one in agents.values())
    for name in waiting(agents, target):
        assert step(servers, agents, name, target).passed
        agents = {**agents, name: target}
    assert set(servers.values()) | set(agents.values()) <= {target}


@given(VERSIONS, VERSIONS)
def test_no_way_crosses_into_etcd_3_6_without_its_stop(found: str, target: str) -> None:
    if upgrade({"srv-1": found}, {}, target).passed and parse(target) >= ETCD_3_6:
        assert parse(found) >= ETCD_REPAIRED


@given(VERSIONS)
def test_a_version_reads_as_it_is_written(text: str) -> None:
    assert str(parse(text)) == text
