"""What a restore does on a machine, as shell text. Each step may be done twice: a killed run is gone over again.

Nothing is deleted before the end: what a server had lies beside it as server-before-<id>.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

RESET_SAID = "Managed etcd cluster membership has been reset"
OTHER_TOKEN = "encrypted with different token"  # noqa: S105  # K3s' sentence, where a token does not open the data
RESET_UNIT = "unterbau-etcd-restore.service"
RESET_WITHIN_S = 900
AUTHORITIES = "/etc/unterbau/pki/ca.pem"  # what the node's own S3 gateway is verified against
CONNECT_TIMEOUT_S = 10
OTHER = 3  # exit code: another restore was begun here and not finished


@dataclass(frozen=True)
class Places:
    """Where K3s and the restore keep their files."""

    data: str = "/var/lib/rancher/k3s"
    config: str = "/etc/rancher/k3s/config.yaml"
    kubeconfig: str = "/etc/rancher/k3s/k3s.yaml"
    ours: str = "/var/lib/unterbau/etcd-restore"
    scratch: str = "/run/unterbau-etcd-restore"
    k3s: str = "/usr/local/bin/k3s"

    @property
    def server(self) -> str:
        """All that makes a node a server of its cluster."""
        return f"{self.data}/server"

    @property
    def snapshots(self) -> str:
        """K3s' own folder of them."""
        return f"{self.server}/db/snapshots"

    def before(self, identity: str) -> str:
        """What was in `server`, until the restore has ended."""
        return f"{self.server}-before-{identity}"

    def snapshot(self, identity: str) -> str:
        """The file that is restored."""
        return f"{self.ours}/{identity}.snapshot"


def begin(places: Places, identity: str) -> str:
    """Leave word that a restore is under way: whoever finds it starts no K3s here."""
    marker = f"{places.ours}/under-way"
    return (
        f"set -e; umask 077; mkdir -p {places.ours}; "
        f'if test -e {marker} && test "$(cat {marker})" != {identity}; then cat {marker} >&2; exit {OTHER}; fi; '
        f"printf %s {identity} > {marker}; sync {marker}"
    )


def under_way(places: Places) -> str:
    """Print the id of the restore that was begun here and has not ended; nothing if there is none."""
    marker = f"{places.ours}/under-way"
    return f"if test -e {marker}; then cat {marker}; fi"


def download(places: Places, url: str, region: str, authorities: str = AUTHORITIES) -> str:
    """A snapshot out of S3, into a file of ours; print its SHA-256. The keys are on standard input, as curl wants them.

    K3s restores from S3 only with the keys in its configuration or on its command line. Source: K3s, etcd-snapshot.
    """
    part = f"{places.ours}/s3.part"
    return (
        f"set -e; umask 077; mkdir -p {places.ours}; curl --silent --show-error --fail --noproxy '*' "
        f"--connect-timeout {CONNECT_TIMEOUT_S} --cacert {shlex.quote(authorities)} "
        f"--aws-sigv4 {shlex.quote(f'aws:amz:{region}:s3')} --config - --output {part} {shlex.quote(url)}; "
        f"sha256sum < {part}"
    )


def login(access_key: str, secret_key: str) -> str:
    """The keys in a line of curl's configuration."""
    quoted = f"{access_key}:{secret_key}".replace("\\", "\\\\").replace('"', '\\"')
    return f'user = "{quoted}"'


def downloaded(places: Places, identity: str) -> str:
    """What was downloaded is the file that is restored."""
    return f"mv -fT {places.ours}/s3.part {places.snapshot(identity)}"


def stop() -> str:
    """K3s is stopped and does not come back by a reboot: old members would make a majority without the new one."""
    return (
        f"set -e; if systemctl is-active --quiet {RESET_UNIT}; then systemctl stop {RESET_UNIT}; fi; "
        "systemctl disable --quiet --now k3s.service; "
        "if systemctl is-active --quiet k3s.service; then echo 'k3s is still active' >&2; exit 1; fi"
    )


def set_aside(places: Places, identity: str) -> str:
    """The server's files are out of the way, its snapshots are back in their place. Twice is once."""
    before = places.before(identity)
    return (
        f"set -e; umask 077; if ! test -e {before}; then test -e {places.server} || mkdir -p {places.server}; "
        f"mv -T {places.server} {before}; fi; rm -rf {places.server}; mkdir -p {places.snapshots}; "
        f"if test -d {before}/db/snapshots; then cp -al {before}/db/snapshots/. {places.snapshots}/; fi; "
        f"sync -f {places.data}"
    )


def reset(places: Places, identity: str, token_hash: str) -> str:
    """The snapshot becomes a cluster of one; the token is on standard input, one line.

    A configuration of its own: the token never on a command line, no server to join, no S3 (K3s refuses both here).
    It goes on if the connection breaks; the next run stops it and begins again.
    """
    config, log = f"{places.scratch}/config.yaml", f"{places.ours}/{identity}.log"
    left_out = r"^\"?(token|token-file|server|cluster-init|cluster-reset|cluster-reset-restore-path|etcd-s3[a-z-]*)\"?:"
    path = json.dumps(places.snapshot(identity))
    run = (
        f"systemd-run --quiet --wait --collect --unit={RESET_UNIT} --property=StandardOutput=append:{log} "
        f"--property=StandardError=append:{log} --property=RuntimeMaxSec={RESET_WITHIN_S} "
        f"{places.k3s} server --config {config}"
    )
    return (
        f"set -e; umask 077; rm -rf {places.scratch}; mkdir -p {places.scratch}; trap 'rm -rf {places.scratch}' EXIT; "
        f"{{ cat; grep -vE {shlex.quote(left_out)} {places.config}; "
        f"printf '%s\\n' 'cluster-reset: true' {shlex.quote(f'cluster-reset-restore-path: {path}')}; }} > {config}; "
        f": > {log}; {run} || true; "
        f"if ! grep -qF {shlex.quote(RESET_SAID)} {log}; then tail -n 5 {log} >&2; exit 1; fi; "
        f"printf %s {token_hash} > {places.ours}/{identity}.reset; sync -f {places.ours}"
    )


def is_reset(places: Places, identity: str) -> str:
    """Print the hash of the token that opened the snapshot, once it is a cluster of one; else nothing."""
    return f"if test -e {places.ours}/{identity}.reset; then cat {places.ours}/{identity}.reset; fi"


def configured(places: Places, server: str | None) -> str:
    """config.yaml has the token of standard input (a line `token: "…"`), and joins `server`; None: it joins nobody.

    Lines are replaced where they stand: a file that says the same already stays as it is.
    """
    way = "" if server is None else f"server: {json.dumps(server)}"
    join = (
        f"'server:'*|'cluster-init:'*) printf '%s\\n' {shlex.quote(way)};; "
        if way
        else ""  # with data on the disk K3s joins nobody, whatever stands there
    )
    new = f"{places.config}.restored"
    added = f"grep -q '^server:' {new} || printf '%s\\n' {shlex.quote(way)} >> {new}; " if way else ""
    return (
        f"set -e; umask 077; IFS= read -r token; while IFS= read -r line; do case $line in "
        f"'token:'*) printf '%s\\n' \"$token\";; {join}*) printf '%s\\n' \"$line\";; esac; "
        f"done < {places.config} > {new}; {added}"
        f"if cmp -s {new} {places.config}; then rm -f {new}; else chmod 600 {new}; sync {new}; "
        f"mv -fT {new} {places.config}; fi"
    )


def start() -> str:
    """K3s runs, and starts at boot again."""
    return "systemctl enable --quiet k3s.service && systemctl start --no-block k3s.service"


def api_ready(places: Places) -> str:
    """Print yes once every part of this server's API works."""
    kubectl = f"{places.k3s} kubectl --kubeconfig {places.kubeconfig} --request-timeout 5s"
    return f'if test "$({kubectl} get --raw /readyz 2>&1)" = ok; then echo yes; else echo no; fi'


def forget_node_passwords(places: Places, nodes: Sequence[str]) -> str:
    """Nodes set their passwords anew: those in the snapshot are not those of machines that were made since."""
    names = " ".join(shlex.quote(f"{node}.node-password.k3s") for node in nodes)
    kubectl = f"{places.k3s} kubectl --kubeconfig {places.kubeconfig} --request-timeout 10s"
    return f"{kubectl} --namespace kube-system delete secret --ignore-not-found {names}"


def restart_agent() -> str:
    """An agent fetches its certificates when it starts; a node without one has nothing to do."""
    return "if systemctl is-enabled --quiet k3s-agent.service; then systemctl restart --no-block k3s-agent.service; fi"


def nodes_ready(places: Places, nodes: Sequence[str], limit_s: int) -> str:
    """Wait until these nodes are Ready."""
    names = " ".join(shlex.quote(f"node/{node}") for node in nodes)
    kubectl = f"{places.k3s} kubectl --kubeconfig {places.kubeconfig}"
    return f"{kubectl} wait --for=condition=Ready --timeout={limit_s}s {names}"


def end(places: Places, identity: str) -> str:
    """What was kept for a way back goes, and the word that a restore is under way last."""
    ours = places.ours
    return (
        f"set -e; rm -rf {places.before(identity)} {places.scratch}; "
        f"rm -f {places.snapshot(identity)} {ours}/{identity}.reset {ours}/{identity}.log; rm -f {ours}/under-way"
    )
