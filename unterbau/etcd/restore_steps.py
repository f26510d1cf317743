"""What a restore does on a machine, as shell text. Each step may be done twice: a killed run is gone over again.

Nothing is deleted before the end: what a server had lies beside it as server-before-<id>. What etcd ran on besides is
never deleted: it lies there as server-kept-<number>.
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
NOW = "date -u +%Y-%m-%dT%H:%M:%SZ"  # as Kubernetes writes times


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

    @property
    def marker(self) -> str:
        """It has the id of the restore that is under way."""
        return f"{self.ours}/under-way"

    @property
    def only_reset(self) -> str:
        """Nothing but a reset of ours has run on the data that it lies with."""
        return f"{self.server}/.unterbau-reset"

    def before(self, identity: str) -> str:
        """What was in `server`, until the restore has ended."""
        return f"{self.server}-before-{identity}"

    def snapshot(self, identity: str) -> str:
        """The file that is restored."""
        return f"{self.ours}/{identity}.snapshot"


def lacking(places: Places) -> str:
    """Print what a restore needs and this server has not, a line each; K3s must have been set up."""
    return (
        "systemctl cat k3s.service > /dev/null 2>&1 || echo 'no unit k3s.service'; "
        f"test -s {places.config} || echo 'no {places.config}'"
    )


def begin(places: Places, identity: str, name: str = "") -> str:
    """Leave word that a restore is under way: whoever finds it starts no K3s here."""
    marker, ours, before = places.marker, places.ours, places.before(identity)
    return (
        f"set -e; umask 077; mkdir -p {ours}; if test -e {marker}; then "
        f'if test "$(cat {marker})" != {identity}; then cat {marker} >&2; exit {OTHER}; fi; '
        f"else if test -e {before}; then {_kept(places, before)}; fi; "  # of an end that was cut off
        f"cp -p {places.config} {ours}/{identity}.config; printf %s {shlex.quote(name)} > {ours}/{identity}.name; "
        f"sync {ours}/{identity}.config; printf %s {identity} > {marker}; sync {marker}; fi"
    )


def _kept(places: Places, path: str) -> str:
    """Shell text that puts it where nobody deletes it, and says where."""
    target = f"{places.server}-kept-$number"
    return (
        f"number=1; while test -e {target}; do number=$((number + 1)); done; mv -T {path} {target}; "
        f'echo "what etcd ran on is kept as {target}"'
    )


def _cleared(places: Places) -> str:
    """Shell text: `server` is away. What a cluster may have run on since is kept."""
    server = places.server
    return (
        f"if test -d {server}/db/etcd/member/wal && ! test -e {places.only_reset}; then "
        f"{_kept(places, server)}; fi; rm -rf {server}"
    )


def under_way(places: Places) -> str:
    """Print the id of the restore that was begun here and has not ended; nothing if there is none."""
    return f"if test -e {places.marker}; then cat {places.marker}; fi"


def named(places: Places, identity: str) -> str:
    """Print what the operator called the snapshot of a restore that was begun here."""
    file = f"{places.ours}/{identity}.name"
    return f"if test -e {file}; then cat {file}; fi"


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
        f"mv -T {places.server} {before}; else {_cleared(places)}; fi; mkdir -p {places.snapshots}; "
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
        f": > {places.only_reset}; : > {log}; {run} || true; "
        f"if ! grep -qF {shlex.quote(RESET_SAID)} {log}; then tail -n 5 {log} >&2; "
        # K3s may say more after that sentence than anybody is shown.
        f"! grep -qF {shlex.quote(OTHER_TOKEN)} {log} || echo {shlex.quote(OTHER_TOKEN)} >&2; exit 1; fi; "
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


def start(places: Places) -> str:
    """K3s runs, and starts at boot again; print when that was, by the node's clock."""
    return (
        f"rm -f {places.only_reset}; systemctl enable --quiet k3s.service && {NOW} && "
        "systemctl start --no-block k3s.service"
    )


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
    """An agent fetches its certificates when it starts; print when that was. A node without one has nothing to do."""
    unit = "k3s-agent.service"
    return (
        f"if systemctl is-enabled --quiet {unit}; then systemctl stop {unit}; {NOW}; "
        f"systemctl restart --no-block {unit}; fi"
    )


def heartbeats(places: Places) -> str:
    """Print NODE STATUS TIME of each: what it said last of being Ready, and when, by its own clock."""
    ready = '{range .status.conditions[?(@.type=="Ready")]}{.status}{" "}{.lastHeartbeatTime}{end}'
    path = '{range .items[*]}{.metadata.name}{" "}' + ready + '{"\\n"}{end}'
    kubectl = f"{places.k3s} kubectl --kubeconfig {places.kubeconfig} --request-timeout 10s"
    return f"{kubectl} get nodes -o jsonpath={shlex.quote(path)} || true"


def look(places: Places) -> str:
    """Print what there is of a restore, a word each: begun, before, reset; and data, if etcd has some here."""
    before = f'{places.server}-before-"$id"'
    return (
        f"if test -e {places.marker}; then echo begun; id=$(cat {places.marker}); ! test -e {before} || echo before; "
        f'! test -e {places.ours}/"$id".reset || echo reset; fi; '
        f"! test -d {places.server}/db/etcd/member/wal || echo data"
    )


def put_back(places: Places) -> str:
    """What was there before the restore that was begun here is there again. K3s must be stopped."""
    before, ours = f'{places.server}-before-"$id"', f'{places.ours}/"$id"'
    new = f"{places.config}.restored"
    return (
        f"set -e; umask 077; id=$(cat {places.marker}); "
        f"if test -e {before}; then {_cleared(places)}; mv -T {before} {places.server}; fi; "
        f"if test -e {ours}.config; then cp -p {ours}.config {new}; sync {new}; mv -fT {new} {places.config}; fi; "
        f"sync -f {places.data}; rm -f {ours}.reset"
    )


def started_again(places: Places) -> str:
    """K3s runs, and no restore is under way any more."""
    ours = f'{places.ours}/"$id"'
    return (
        f"set -e; id=$(cat {places.marker}); {start(places)}; rm -rf {places.scratch}; rm -f {places.marker}; "
        f"rm -f {ours}.snapshot {ours}.log {ours}.config {ours}.name"
    )


def end(places: Places, identity: str) -> str:
    """The word that a restore is under way goes first: without what it needs, it could neither go on nor back."""
    ours = f"{places.ours}/{identity}"
    return (
        f"set -e; rm -f {places.marker}; rm -rf {places.before(identity)} {places.scratch}; "
        f"rm -f {ours}.reset {ours}.log {ours}.config {ours}.name {ours}.snapshot"
    )
