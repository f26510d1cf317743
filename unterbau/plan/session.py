"""One pyinfra run, driven from here: inventory, connections, Prepare.

It does what `pyinfra INVENTORY deploys/site.py` does, but an error on one host stays on that host, and every reason why
a host is not the whole truth is kept.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pyinfra
from pyinfra.api import Config, State
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra_cli.inventory import make_inventory_from_files
from pyinfra_cli.util import exec_file

from unterbau import changes
from unterbau.connectors import cloud_listing
from unterbau.connectors.endpoint import EndpointConnector
from unterbau.connectors.left_out import left_out
from unterbau.connectors.node import NodeConnector
from unterbau.declaration import Environment
from unterbau.plan.arguments import use_known_arguments
from unterbau.plan.messages import Messages
from unterbau.plan.order import use_fast_operation_order
from unterbau.plan.replicated import beyond, replicated
from unterbau.plan.stages import stages

DEPLOY = "deploys/site.py"
UNDECLARED = "servers that no pool declares"


class SessionError(Exception):
    """A run that cannot begin, with what was found and what to do next."""


class _Connections(BaseStateCallback):
    """Keep the reason of each connection that failed."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def host_connect_error(self, state: State, host: Host, error: Exception) -> None:  # type: ignore[override]  # noqa: ARG002
        self._session.problems[host.name].append(f"cannot connect: {error.args[0] if error.args else error!r}")


class Session:
    """Hosts of one environment from connect to disconnect. `problems` are sentences by host name."""

    def __init__(
        self, environment: Environment, root: Path, limit: Iterable[str] = (), begun: Iterable[str] = ()
    ) -> None:
        """`begun`: hosts whose machines were made or started right before, and are waited for."""
        self.environment, self.root, self.limit = environment, root, tuple(limit)
        self.later: tuple[str, ...] = ()  # hosts whose machines this run's cloud has to make or start first
        self.problems: dict[str, list[str]] = defaultdict(list)
        self.remarks: list[tuple[str, changes.RuleAsked]] = []  # (host, what it tells whatever there is to do)
        self.messages = Messages()
        self.state = State(check_for_changes=True)
        self.state.cwd = str(root)
        self._initialise(begun)

    @property
    def hosts(self) -> list[Host]:
        """The hosts within the limit, by name."""
        return sorted((h for h in self.state.inventory if self.state.is_host_in_limit(h)), key=lambda h: str(h.name))

    @property
    def ready(self) -> list[Host]:
        """The hosts that are connected and have not failed, by name."""
        return [host for host in self.hosts if host in self.state.active_hosts]

    def _initialise(self, begun: Iterable[str]) -> None:
        pyinfra.is_cli = True  # operations are ordered by where they stand in the deploy files
        use_fast_operation_order()
        use_known_arguments()
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        ctx_state.set(self.state)
        config = Config()
        ctx_config.set(config)
        cloud_listing.begin(self.environment, begun)
        inventory = make_inventory_from_files(str(self.environment.path), cwd=str(self.root))
        ctx_inventory.set(inventory)
        first, self.later = stages(_limited(inventory, self.limit), list(inventory))
        self.remarks += [(name, changes.RuleAsked(UNDECLARED, True, why)) for name, why in cloud_listing.unasked()]
        self.state.init(inventory, config, initial_limit=first)
        self.state.add_callback_handler(_Connections(self))

    def connect(self) -> None:
        """Connect to every host at once; those that cannot be reached are problems, not exceptions."""
        self.state.set_stage(StateStage.Connect)
        self.each(self._connect, self.hosts)

    def lock(self, holder: str) -> None:
        """Hold every connected node for this run; a node that another run holds is a problem.

        Of a service whose servers are changed one at a time it holds all that can be reached, those outside of the
        limit too: else two runs would both find all others well, and restart one each. Who is down is not held: gates
        see that. The first node, and the first of each service, decide alone: of two runs at once one gets all.
        """
        services = replicated(self.state.inventory)
        because = beyond(services, (host.name for host in self.hosts))
        others = [host for host in self.state.inventory if host.name in because]
        there = left_out(self.state).connected(others) if not self.problems else {}
        order = sorted([*self.ready, *(one for one in others if one.name in there)], key=_nodes_first)
        firsts = [next((host for host in order if host.name in servers), None) for servers in services.values()]
        alone = [host for host in order if host in order[:1] or host in firsts]
        for hosts in (*([host] for host in alone), [host for host in order if host not in alone]):
            if not self.problems:
                self.each(partial(self._hold, holder=holder, because=because), hosts)

    def _hold(self, host: Host, holder: str, because: Mapping[str, str]) -> None:
        if host.name not in because:
            _lock(host, holder)
            return
        try:
            left_out(self.state).lock([host], holder)
        except ConnectError as error:
            why = f"outside of the limit, but servers of {because[host.name]} are changed by one run at a time"
            raise ConnectError(f"{error} ({why})") from error

    def prepare(self) -> None:
        """Run the deploy file on every connected host: which operations there are, and which have something to do.

        Nodes first: an endpoint that cannot be reached asks whether the plan of its nodes will make it.
        """
        self.state.set_stage(StateStage.Prepare)
        filename = str(self.root / DEPLOY)
        self.state.current_deploy_filename = filename
        for endpoints in (False, True):
            self.each(partial(self._deployed, filename), [h for h in self.ready if _is_endpoint(h) is endpoints])

    def _deployed(self, filename: str, host: Host) -> None:
        with changes.recording() as record:
            exec_file(filename)
        self.remarks += [(host.name, remark) for remark in record.remarks]

    def disconnect(self) -> None:
        """Close every connection; what a run held on its nodes is free with that."""
        disconnect_all(self.state)
        left_out(self.state).close()

    def fail(self, host: Host, sentence: str) -> None:
        """Take a host out of this run, with the reason."""
        self.problems[host.name].append(sentence)
        self.state.failed_hosts.add(host)
        self.state.active_hosts.discard(host)

    def each(self, action: Callable[[Host], Any], hosts: Iterable[Host]) -> None:
        """`action(host)` on all hosts at once, each in its own context; an error fails its host only."""
        gevent.joinall([gevent.spawn(self._guarded, action, host) for host in hosts], raise_error=True)

    def _guarded(self, action: Callable[[Host], Any], host: Host) -> None:
        with self.on(host):
            try:
                action(host)
            except ConnectError as error:
                self.fail(host, str(error))
            except Exception as error:  # whatever a deploy raises ends this host, not the run
                if host in self.state.failed_hosts and isinstance(error, PyinfraError):
                    return  # pyinfra's "No hosts remaining!", after it failed the last one
                told = getattr(error, "exception", None) or error  # pyinfra_cli wraps what a deploy file raises
                self.fail(host, f"{type(told).__name__}: {told}")

    @contextmanager
    def on(self, host: Host) -> Iterator[None]:
        """The context that operations and facts of `host` run in."""
        with ctx_config.use(self.state.config.copy()), ctx_host.use(host):
            yield

    def _connect(self, host: Host) -> None:
        host.connect(show_errors=False)
        if host.connected:
            self.state.activate_host(host)
        else:
            self.state.failed_hosts.add(host)

    def unread(self) -> dict[str, list[str]]:
        """Why hosts are not the whole truth, by name: failed connections, facts that failed, exceptions."""
        reasons = {name: list(found) for name, found in self.problems.items()}
        for host in self.state.failed_hosts:
            heard = self.messages.errors_of(host.name)
            if not reasons.get(host.name):
                reasons[host.name] = heard or ["a fact could not be read"]
        return reasons


def _nodes_first(host: Host) -> tuple[bool, str]:
    return _is_endpoint(host), str(host.name)


def _is_endpoint(host: Host) -> bool:
    return isinstance(host.connector, EndpointConnector)


def _lock(host: Host, holder: str) -> None:
    if isinstance(host.connector, NodeConnector | EndpointConnector):
        host.connector.lock(holder)


def _limited(inventory: Any, limit: tuple[str, ...]) -> list[Host] | None:
    if not limit:
        return None
    unmatched = [pattern for pattern in limit if not any(_matches(host, pattern) for host in inventory)]
    if unmatched:
        there = ", ".join(sorted({h.name for h in inventory} | {group for h in inventory for group in h.groups}))
        raise SessionError(
            f"cannot limit to {', '.join(map(repr, unmatched))}: no such host or group; there are {there}"
        )
    return [host for host in inventory if any(_matches(host, pattern) for pattern in limit)]


def _matches(host: Host, pattern: str) -> bool:
    return fnmatchcase(host.name, pattern) or pattern == "all" or pattern in host.groups
