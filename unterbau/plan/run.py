"""Plan and apply from beginning to end: what the commands of the command line do, without their printing."""

from __future__ import annotations

import difflib
import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from unterbau.declaration import Environment, load
from unterbau.plan.collect import make_plan
from unterbau.plan.execute import Run
from unterbau.plan.model import Plan, Problem
from unterbau.plan.report import CHANGES, DONE, FAILED, REFUSED, Report, rest
from unterbau.plan.session import Session
from unterbau.plan.text import plan_text
from unterbau.secrets.hidden import redact

LOOKS = 4  # after an apply, at most, until its hosts are as declared


@contextmanager
def planned(  # noqa: PLR0913  # what a session is, and how it is begun
    environment: Environment,
    root: Path,
    limit: tuple[str, ...],
    tell: Callable[[str], None],
    *,
    lock: bool,
    begun: tuple[str, ...] = (),
) -> Iterator[tuple[Session, Plan]]:
    """A session and its plan; connections (and locks) end with the block. `begun` as for a session."""
    session = Session(environment, root, limit, begun)
    try:
        tell(f"connecting to {len(session.hosts)} hosts of {environment.name}")
        session.connect()
        if lock:
            session.lock(holder())
        tell(f"reading {len(session.ready)} hosts")
        session.prepare()
        yield session, make_plan(session)
    finally:
        session.disconnect()


def holder() -> str:
    """Who holds a node, for whoever finds it held."""
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()}, since {started})"


def plan(name: str, root: Path, limit: tuple[str, ...], tell: Callable[[str], None]) -> Plan:
    """What would change in an environment. DeclarationError or SessionError before any connection is made."""
    with planned(load(name, root), root, limit, tell, lock=False) as (_session, found):
        return found


def exit_code_of(plan: Plan) -> int:
    """The exit code of the architecture page for a plan."""
    if plan.problems:
        return FAILED
    if plan.refused:
        return REFUSED
    return CHANGES if plan.changes else DONE


def difference(agreed: Plan, found: Plan) -> str:
    """What is in one plan and not in the other, as a unified diff of their texts."""
    texts = (plan_text(agreed).splitlines(), plan_text(found).splitlines())
    return "\n".join(difflib.unified_diff(*texts, "agreed plan", "plan now", lineterm="", n=1))


def execute(run: Run, root: Path, tell: Callable[[str], None]) -> Report:
    """Carry out a plan, then look once more whether its hosts are now as declared.

    Not after one that deletes nodes: the others are as declared once they are told, which takes another plan.
    """
    left, earlier, session = None, list[str](), run.session
    try:
        run.execute()
        interrupted = run.stopped
        if run.plan.changes and session.ready and not interrupted and not run.plan.departing:
            run.stop()  # nothing is left that an interrupt should wait for
            left = _look_again(session, root, tell, earlier)
    except KeyboardInterrupt:
        interrupted = True
    problems = tuple(Problem(name, redact(why)) for name in sorted(session.problems) for why in session.problems[name])
    return Report(run.plan, run.outcomes(), problems, left, interrupted, tuple(earlier))


def _look_again(session: Session, root: Path, tell: Callable[[str], None], earlier: list[str]) -> Plan:
    """The plan of the hosts, once it has nothing to do, or the last of LOOKS; `earlier` gets what the others found.

    On a busy host a service may look for seconds as if it were down, or be slow to answer.
    """
    names = tuple(host.name for host in session.ready)
    tell("reading again what was changed")
    while True:
        with planned(session.environment, root, names, lambda _line: None, lock=False) as (_again, left):
            pass
        if len(earlier) == LOOKS - 1 or not (left.changes or left.problems):
            return left
        earlier.append(rest(left))
        tell(f"reading once more; {earlier[-1]}")
