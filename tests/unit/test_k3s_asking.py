"""Servers are asked at the same time: what one command prints is complete, in order, and never mixed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from facts.k3s import Cluster
from facts.k3s_api import asking_servers, at_once, line_of, servers_of
from facts.k3s_departed import Known

SERVERS = {"srv-1": "10.77.0.11", "srv-2": "10.77.0.12", "srv-3": "10.77.0.13"}
LIMIT_S = 20  # only for one that would wait for ever


def printed(script: str, **settings: str) -> list[str]:
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
        env={**os.environ, **settings},
    )
    return done.stdout.splitlines()


def test_each_of_those_asked_waits_for_nobody(tmp_path: Path) -> None:
    """The first ends only after the last was asked, and the other way round: one after the other is a standstill."""
    for name in ("there", "back"):
        os.mkfifo(tmp_path / name)
    there, back = (f"{tmp_path}/{name}" for name in ("there", "back"))
    assert printed(at_once(f"echo 1 > {there}; cat {back}", "echo two", f"cat {there}; echo 3 > {back}")) == [
        "3",
        "two",
        "1",
    ]


def test_answers_larger_than_a_pipe_stay_whole_and_in_order() -> None:
    lines = printed(at_once(*(line_of("nodes", f"yes {name} | head -c 300000", name) for name in "abc")))
    assert [line[:8] for line in lines] == ["nodes\ta\t", "nodes\tb\t", "nodes\tc\t"]
    assert [set(line[8:]) for line in lines] == [{"a"}, {"b"}, {"c"}]


def test_one_that_says_nothing_is_down_and_hides_nobody(tmp_path: Path) -> None:
    """A curl that knows two of three, one of which shows its nodes."""
    curl = tmp_path / "curl"
    curl.write_text(
        "#!/bin/sh\n"
        'case $* in *10.77.0.12*) exit 7;; *readyz*) printf "[+]ping ok\\n[+]etcd ok\\n";;\n'
        '*10.77.0.11*) printf \'{"items":\\n[{"metadata":{"name":"srv-1"}}]}\';; *) echo "no JSON";; esac\n'
    )
    curl.chmod(0o755)
    script = asking_servers(SERVERS, 6443, line_of("secrets", "echo told")).partition(" || ")[2]
    lines = printed(script, PATH=f"{tmp_path}:{os.environ['PATH']}")
    found = servers_of(lines)
    assert [(name, one["answers"], one["nodes"] and list(one["nodes"])) for name, one in found.items()] == [
        ("srv-1", True, ["srv-1"]),
        ("srv-2", False, None),
        ("srv-3", True, None),
    ]
    assert lines[-1] == "secrets\ttold"


def test_the_server_that_asks_is_asked_first_in_both_facts() -> None:
    for fact in (Cluster(), Known()):
        script = fact.command(node="srv-2", servers=SERVERS)
        assert script.index("10.77.0.12") < script.index("10.77.0.11") < script.index("10.77.0.13")
