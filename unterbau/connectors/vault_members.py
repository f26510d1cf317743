"""The members of a Vault cluster: which one is active."""

from __future__ import annotations

import time

import gevent
import requests
from typing_extensions import override

from unterbau.connectors import members
from unterbau.connectors.endpoint import NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S, Member
from unterbau.connectors.tunnel import OPEN_TIMEOUT_S

HEALTH = "/v1/sys/health?standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200"


class Members(members.Members):
    """Servers that are active, standby, sealed or not initialised."""

    best = "active"

    def active(self, patience_s: float) -> Member:
        """The member that answers requests, waiting for an election if there is one; NotThereError with what is there.

        Nobody is waited for where no member answers at all while a run is only planned.
        """
        deadline = time.monotonic() + patience_s
        while True:
            found = self.look()
            if member := next((m for m in self.all if found[m.host.name] == "active"), None):
                return member
            if time.monotonic() >= deadline:
                states = ", ".join(f"{name} {state}" for name, state in sorted(found.items()))
                raise NotThereError(
                    f"cannot reach Vault's API: no member is active; found {states}; look at `unterbau vault status`"
                )
            gevent.sleep(LOOK_AGAIN_S)

    def answers(self) -> bool:
        """Whether any member answers, whatever it says."""
        return any(state in ("active", "standby", "sealed", "not initialised") for state in self.look().values())

    @override
    def ask(self, member: Member, http: requests.Session) -> str:
        health = http.get(member.url + HEALTH, timeout=OPEN_TIMEOUT_S).json()
        if not health.get("initialized"):
            return "not initialised"
        return "sealed" if health.get("sealed") else "standby" if health.get("standby") else "active"
