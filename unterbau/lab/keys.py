"""The lab's SSH keys: one for the operator, one per machine, pinned before anything boots."""

from __future__ import annotations

from pathlib import Path

from unterbau.lab.command import run
from unterbau.lab.layout import Lab


def known_hosts_lines(public_keys: dict[tuple[str, str], str]) -> str:
    """The known_hosts file for {(address, name): public key line}."""
    lines = []
    for (address, name), public in public_keys.items():
        kind, key = public.split()[:2]
        lines.append(f"{address},{name} {kind} {key}\n")
    return "".join(lines)


def ensure(lab: Lab) -> None:
    """Generate the keys that are missing, and pin the machines'."""
    hosts = lab.state / "ssh" / "hosts"
    hosts.mkdir(mode=0o700, parents=True, exist_ok=True)
    _generate(lab.key, "operator")
    public_keys = {}
    for machine in lab.machines:
        directory = hosts / machine.name
        directory.mkdir(mode=0o700, exist_ok=True)
        _generate(directory / "ssh_host_ed25519_key", machine.name)
        public = (directory / "ssh_host_ed25519_key.pub").read_text()
        public_keys[str(machine.address), machine.name] = public
    lab.known_hosts.write_text(known_hosts_lines(public_keys))


def _generate(path: Path, comment: str) -> None:
    # The public half comes last: without it a run was cut short, and the private half may be, too.
    if path.with_suffix(".pub").exists():
        return
    path.unlink(missing_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))
