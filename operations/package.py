"""Debian packages: installed, and none of them half done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.package import Installed
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown

LOCK = "/var/lib/apt/daily_lock"  # taken by apt-daily and apt-daily-upgrade too. Source: apt.systemd.daily
LOCK_WAIT_S = 300
APT = (
    f"apt-get --yes --quiet --no-install-recommends -o DPkg::Lock::Timeout={LOCK_WAIT_S} -o Dpkg::Use-Pty=0"
    " -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)


def apt(*steps: str) -> StringCommand:
    """Run steps alone and to their end, even if the run that started them is killed meanwhile.

    dpkg dies of a closed pipe in the middle of a package: so its output goes to a file, shown only if a step fails.
    """
    script = " && ".join(["export DEBIAN_FRONTEND=noninteractive", *steps])
    busy = shlex.quote(f"cannot use apt: another run held {LOCK} for {LOCK_WAIT_S} s; see what it does, then run again")
    return StringCommand(
        f"log=$(mktemp) && exec 9> {LOCK} && {{ flock -w {LOCK_WAIT_S} 9 || {{ echo {busy} >&2; exit 1; }}; }} && "
        f'({script}) < /dev/null > "$log" 2>&1 9>&-; code=$?; '
        '[ $code -eq 0 ] || tail -n 30 "$log" >&2; rm -f "$log"; exit $code'
    )


@operation()
def installed(names: Sequence[str]) -> Commands:
    """These packages are installed, at whatever version; what a killed run left half done is finished first.

    Args:
        names: of real packages, not of virtual ones.
    """
    state = host.get_fact(Installed, names=list(names))
    if isinstance(state, Unknown):
        yield from changes.refuse(
            f"cannot install packages on {host.name}: dpkg's database could not be read; see above"
        )
        return
    for name, status in state["broken"].items():
        changes.attribute(f"package {name}", status, "installed")
    if state["interrupted"]:
        changes.attribute("dpkg database", "interrupted", "whole")
    missing = [name for name in sorted(names) if name not in state["versions"] and name not in state["broken"]]
    for name in missing:
        changes.attribute(f"package {name}", None, "installed")
    if not (missing or state["broken"] or state["interrupted"]):
        host.noop(f"{len(names)} packages are installed")
        return
    if state["broken"] or state["interrupted"]:
        yield apt(
            "{ dpkg --configure -a --force-confdef --force-confold || true; }",  # what it cannot, the next steps can
            f"{APT} update", f"{APT} --fix-broken install",
        )  # fmt: skip
    wanted = [name for name in sorted(names) if name not in state["versions"]]
    if wanted:
        yield apt(f"{APT} update", f"{APT} install -- {' '.join(map(shlex.quote, wanted))}")
