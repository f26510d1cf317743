"""The lab's cloud as a state machine: requests in, answers out, and the work of actions in between."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from unterbau.lab.cloud import effects, faults, metadata, work
from unterbau.lab.cloud.answer import Answer, ApiError, Record, json_answer
from unterbau.lab.cloud.firewalls import FIREWALLS
from unterbau.lab.cloud.ips import FLOATING_IPS, PRIMARY_IPS
from unterbau.lab.cloud.limits import Limits
from unterbau.lab.cloud.listing import Query
from unterbau.lab.cloud.load_balancers import LOAD_BALANCERS
from unterbau.lab.cloud.machines import InMemoryMachines, MachineError, Machines
from unterbau.lab.cloud.networks import NETWORKS
from unterbau.lab.cloud.project import Clock, Project, utc_now
from unterbau.lab.cloud.rate import Rate
from unterbau.lab.cloud.routing import Call, answered, get_action, get_actions, route, routes
from unterbau.lab.cloud.server_actions import SERVERS
from unterbau.lab.cloud.simple_kinds import SIMPLE_KINDS, pricing
from unterbau.lab.cloud.store import Store
from unterbau.lab.cloud.volumes import VOLUMES

PREFIX = "/v1"
TOO_MANY = 429
KINDS = (SERVERS, NETWORKS, FIREWALLS, LOAD_BALANCERS, VOLUMES, PRIMARY_IPS, FLOATING_IPS, *SIMPLE_KINDS)
ROUTES = [one for kind in KINDS for one in routes(kind)] + [
    route("GET", "/pricing", pricing),
    route("GET", "/actions", get_actions),
    route("GET", "/actions/{action}", get_action),
]


class CloudApi:
    """One project of the lab's cloud, for whoever has its token. Safe to use from many threads.

    `handle` answers a request; what it sets going is done by `work_once`, called by threads of `http_face`, or by
    `settle`, which does all that is due. With `path` the state outlives the process, killed or not: work that was in
    its middle is begun again.
    """

    def __init__(
        self, token: str, machines: Machines | None = None, path: Path | None = None, *,
        clock: Clock = utc_now, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self._digest = hashlib.sha256(token.encode()).digest()
        self._store = Store(path)
        self.machines: Machines = InMemoryMachines() if machines is None else machines
        self.project = Project(self._store.load(), clock, limits)
        self.project.health = self.machines.health
        self.requests: list[tuple[str, str]] = []  # (method, path) of every request with the right token, in order
        self.changed = threading.Condition()  # told when there may be work to do
        self._claimed: list[Record] = []
        most = self.project.limits.requests_an_hour
        self._rate = Rate(most, most, clock().timestamp())

    def handle(self, method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request for `path` (from "/v1" on), with the names of its headers in lower case."""
        with self.changed:
            try:
                self._let_in(headers)
                answer = self._answered(method, path, query, body)
            except ApiError as error:
                answer = error.answer()
            headers = {**self._rate.headers(), "X-Correlation-ID": secrets.token_hex(8)}
            if answer.status == TOO_MANY:  # a fault's, too
                headers["RateLimit-Remaining"] = "0"
            return answer.with_headers(headers)

    def _let_in(self, headers: Mapping[str, str]) -> None:
        token = headers.get("authorization", "").removeprefix("Bearer ").encode()
        if not hmac.compare_digest(hashlib.sha256(token).digest(), self._digest):
            raise ApiError("unauthorized", "unable to authenticate")
        if not self._rate.take(self.project.clock().timestamp()):
            raise ApiError("rate_limit_exceeded", f"limit of {self._rate.limit} requests an hour is exceeded")

    def _answered(self, method: str, path: str, query: Query, body: bytes) -> Answer:
        if not path.startswith(f"{PREFIX}/"):
            raise ApiError("not_found", f"there is nothing at {path}; the API begins with {PREFIX}/")
        path = path.removeprefix(PREFIX)
        self.requests.append((method, path))
        faulty = bool(self.project.faults)
        try:
            status, content = answered(Call(self.project, path, query, body), ROUTES, method)
            cut = method == "GET" and self._dropped(path, content or {})
        finally:
            if method != "GET" or faulty:  # also with a lost answer, and for faults that were counted down
                self._keep()
        return replace(json_answer(status, content), cut=cut)

    def _dropped(self, path: str, content: Record) -> bool:
        if "meta" not in content:
            return False
        page = content["meta"]["pagination"]["page"]
        return faults.strike(self.project, "dropped_page", path=path, page=page) is not None

    def _keep(self) -> None:
        self._store.save(self.project.state())
        self.changed.notify_all()

    def work_once(self) -> bool:
        """Do one work that is due, from its beginning to its end; False if none is."""
        with self.changed:
            item = work.due(self.project, self._claimed)
            if item is None:
                return False
            self._claimed.append(item)
        try:
            self._do(item)
        finally:
            with self.changed:
                self._claimed.remove(item)
                self.changed.notify_all()
        return True

    def has_work(self) -> bool:
        """Whether some work is due that nobody does yet."""
        with self.changed:
            return work.due(self.project, self._claimed) is not None

    def settle(self) -> None:
        """Do all the work that is due."""
        while self.work_once():
            pass

    def _do(self, item: Record) -> None:
        steps: effects.Steps | None = None
        failed: MachineError | None = None
        while True:
            with self.changed:
                try:
                    if steps is None:
                        steps = self._begun(item)
                    call = _next(steps, failed)
                except StopIteration:
                    return self._finish(item)
                except Exception as error:  # a mistake of ours is a failed action, not a worker that is gone
                    return self._finish(item, _why(error))
                self._keep()
            failed = _called(call, self.machines)

    def _begun(self, item: Record) -> effects.Steps:
        if why := work.blocked(self.project, item):
            raise ApiError(*why)
        return effects.begin(self.project, item)

    def _finish(self, item: Record, error: tuple[str, str] | None = None) -> None:
        work.finish(self.project, item, error)
        self._keep()

    def next_at(self) -> datetime | None:
        """When the first work that waits for its time may begin; None if none waits."""
        with self.changed:
            return work.next_at(self.project)

    def add_fault(self, fault: faults.Fault) -> int:
        """Switch a fault on; its id."""
        with self.changed:
            number: int = faults.add(self.project, fault)["id"]
            self._keep()
            return number

    def remove_fault(self, number: int | None = None) -> None:
        """Switch a fault off; all of them without a number."""
        with self.changed:
            faults.remove(self.project, number)
            self._keep()

    def faults(self) -> list[Record]:
        """The faults that are on."""
        with self.changed:
            return [dict(fault) for fault in self.project.faults]

    def metadata(self, source: str, path: str) -> Answer:
        """What the metadata service answers to the server at the address `source`."""
        with self.changed:
            return metadata.answer(self.project, source, path)

    def counted(self, wanted: Iterable[tuple[str, str]]) -> int:
        """How many of the requests so far were these (method, path)."""
        asked = set(wanted)
        with self.changed:
            return sum(one in asked for one in self.requests)


def _next(steps: effects.Steps, failed: MachineError | None) -> effects.Call:
    return next(steps) if failed is None else steps.throw(failed)


def _why(error: Exception) -> tuple[str, str]:
    if isinstance(error, ApiError):
        return error.code, error.message
    code = "action_failed" if isinstance(error, MachineError) else "server_error"
    return code, str(error) if isinstance(error, MachineError) else repr(error)


def _called(call: effects.Call, machines: Machines) -> MachineError | None:
    try:
        call(machines)
    except MachineError as error:
        return error
    except Exception as error:  # a mistake of theirs is a failed action, not a worker that is gone
        return MachineError(f"{type(error).__name__}: {error}")
    return None
