"""A node that is lost while it is read ahead: the run ends in time, and says who it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.commands import Running, on, plan, settled, unterbau

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("on_the_ground")]

PATIENCE_S = 120


@pytest.fixture
def remembered(on_the_ground: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that asked each fact by itself: whoever plans next reads them ahead."""
    settled()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert plan()[0] == 0


@pytest.fixture
def hanging(remembered: None) -> Iterator[None]:
    """A fact of wrk-2 that never answers."""
    on("wrk-2", "mv /usr/bin/dpkg-query /usr/bin/dpkg-query.away")
    on(
        "wrk-2",
        "printf '#!/bin/sh\\necho x >/run/asked\\nsleep 100\\n' >/usr/bin/dpkg-query; chmod 755 /usr/bin/dpkg-query",
    )
    yield
    on("wrk-2", "mv /usr/bin/dpkg-query.away /usr/bin/dpkg-query; rm -f /run/asked")
    settled()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("none", "wrk-2 did not answer within 30 s"),
        ("pause", "the connection to wrk-2 was lost"),
        ("cut", "the connection to wrk-2 was lost"),
        ("kill", "the connection to wrk-2 was lost"),
    ],
)
def test_a_node_that_is_lost_while_it_is_read_ahead_is_named(hanging: None, fault: str, words: str) -> None:
    run = Running("plan", "lab", "--json").until("reading")
    # Asked there: the fault must come well before the 30 s of the fact are over.
    on("wrk-2", f"timeout {PATIENCE_S} sh -c 'until test -s /run/asked; do sleep 0.02; done'")
    assert run.process.poll() is None
    try:
        assert fault == "none" or unterbau("lab", "fault", fault, "wrk-2").returncode == 0
        code, out, err = run.end()
    finally:
        unterbau("lab", "fault", "undo", "wrk-2")
        assert unterbau("lab", "up").returncode == 0
    problems = json.loads(out)["problems"]
    assert (code, {problem["host"] for problem in problems}) == (1, {"wrk-2"}), err
    assert words in problems[0]["sentence"]
