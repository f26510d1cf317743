"""What a K3s cluster is kept secret with, made anew: its token, its certificates, the key of its Secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from facts.k3s_api import ADMIN
from facts.k3s_rotation import STATUS, Encryption, EncryptionState, Token
from operations import k3s_ahead, k3s_gate, k3s_ready, k3s_rotation_gate
from operations.config_file import Commands
from operations.k3s_config import Node, Tokens
from unterbau import changes
from unterbau.domain import k3s_rotation
from unterbau.domain.etcd import begun, token_hash
from unterbau.domain.unknown import Unknown
from unterbau.secrets.errors import StoreError

QUORUM_RULE = "etcd keeps its quorum"
DONE, UNDER_WAY = "reencrypt_finished", ("reencrypt_request", "reencrypt_active")
K3S = "/usr/local/bin/k3s"
UNREADABLE = "not from the new key on until its restart; let nobody write one there meanwhile: it would be lost"


@operation()
def token(node: Node, tokens: Sequence[HiddenValue], *, version: int, secret: str) -> Commands:
    """The cluster is under the newest token, before any server is told of it in its configuration.

    One server asks K3s for it, all others wait until it is so: who started with a token that is not the cluster's
    would not come up. What a killed run left is seen from etcd, which knows the token's hash.

    Args:
        node: this server.
        tokens: as they are stored, newest first; each of them may be the cluster's.
        version: the number of the newest.
        secret: what they are called in the store.
    """
    found = host.get_fact(Token, port=node.cluster.port)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot see the token of {node.node}: it could not be read; see the error above")
        return
    if "restore" in found:
        yield from changes.refuse(begun(node.node, found["restore"]))
        return
    if found["own"] is None or node.cluster.datastore:
        host.noop("this server has yet to join" if found["own"] is None else "the datastore is outside of K3s")
        return
    try:
        known = [token_hash(one.unmask()) or "" for one in tokens]
    except StoreError as error:
        yield from changes.refuse(f"cannot use the token of {node.node}: {error}")
        return
    if not all(known):
        yield from changes.refuse(f"cannot use the token of {node.node}: a version of it is no token; set a plain one")
        return
    cluster = found["cluster"] or k3s_rotation_gate.told(host, node)
    if not cluster:
        yield from _unanswered(node, found["own"] == known[0])
        return
    age = k3s_rotation.used(cluster, known)
    if age and not k3s_rotation_gate.anybody_acts(host, node, known[0]):
        yield from changes.refuse(_twice(secret, version - age, version))
    else:
        yield from _under(node, tokens, known, age, version)


def _under(
    node: Node, tokens: Sequence[HiddenValue], known: Sequence[str], age: int | None, version: int
) -> Iterator[PyinfraCommand]:
    """The newest token instead of the one that is `age` versions older."""
    if age is None:
        yield from changes.refuse(_strange(node, len(known)))
        return
    if age == 0:
        host.noop(f"the cluster is under version {version} of its token")
        return
    changes.attribute("token of the cluster", f"version {version - age}", f"version {version}")
    if k3s_rotation_gate.acts(host, node):
        yield _put(node, tokens[age], tokens[0])
    yield k3s_rotation_gate.until_known(node, known[0], version)


def _unanswered(node: Node, newest: bool) -> Iterator[PyinfraCommand]:
    if newest:
        host.noop("etcd does not answer; this server has started with the newest token")
        return
    yield from changes.refuse(
        f"cannot see the token of {node.node}: no etcd answers, and it did not start with the newest token; "
        f"start it as it is: `systemctl start {node.unit}` there, then apply again"
    )


def _strange(node: Node, versions: int) -> str:
    return (
        f"cannot see the token of {node.node}: found one that is none of the {versions} newest versions in the store; "
        "put the store back that the cluster was made with, or set its token there"
    )


def _twice(secret: str, used: int, version: int) -> str:
    """Rotated again before anybody was restarted: no server would believe who asks, and none would start either."""
    back = f"`unterbau secrets reveal {secret} --version {used} --env ENV | unterbau secrets set {secret} --env ENV`"
    return (
        f"cannot bring the cluster to version {version} of its token: found it under version {used}, and no server of "
        f"this run that was started with that; if --limit leaves servers out, apply to all; else go back to it first: "
        f"{back}, apply, which restarts them with it, then rotate once more"
    )


def _put(node: Node, old: HiddenValue, new: HiddenValue) -> StringCommand:
    """Both tokens on standard input; `k3s token rotate`, which asks the same, has them on its command line."""
    lines = {
        "user": f"server:{_plain(old)}",
        "data": json.dumps({"newToken": _plain(new)}),
        "header": "Content-Type: application/json",
        "request": "PUT",
        "url": f"https://127.0.0.1:{node.cluster.port}/v1-k3s/token",
        "cacert": f"{ADMIN.folder}/server-ca.crt",
        "noproxy": "*",
    }
    # A text in curl's configuration is quoted as one in JSON. It takes effect as a whole or not at all: no retry.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    return StringCommand("curl --silent --show-error --fail-with-body --max-time 60 --config -", _stdin=text)


def _plain(token: HiddenValue) -> str:
    """The password of a token: "K10<CA>::server:<password>" -> "<password>"."""
    return str(token.unmask()).strip().rpartition(":")[2]


@operation()
def certificates(node: Node, *, within_days: int) -> Commands:
    """None of the certificates that K3s has made for this node ends within so many days. Called with `_serial=True`.

    K3s renews what is near its end whenever it starts; a node that runs for long is made to.

    Args:
        node: this node.
        within_days: more than an apply may be away.
    """
    found = k3s_gate.state_of(host, node)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot see the certificates of {node.node}: they could not be read; see above")
        return
    due = k3s_rotation.ending(found["certificates"], found["now_s"], int(within_days))
    if not due or found["active"] != "active":
        host.noop(f"no certificate of K3s ends within {within_days} days" if not due else f"{node.unit} does not run")
        return
    first = min(due, key=lambda path: due[path])
    changes.attribute(f"certificates of {node.node}", f"{len(due)} end soon, {first} on {due[first][:10]}", "made anew")
    renew = f"{K3S} certificate rotate" if node.role == "server" else "true"  # an agent asks for its own at every start
    yield from _restarted(node, "for new certificates", _restart(node, renew))


@operation()
def encryption_key(node: Node, *, not_before: str, tokens: Tokens | None = None) -> Commands:
    """Secrets are encrypted with a key that is not older, on every server. Called with `_serial=True`.

    The first server makes the key and encrypts every Secret with it; then one after the other is restarted, which is
    how they learn it. Servers whose keys differ are what a killed run leaves. Source: K3s docs, cli/secrets-encrypt.

    Until its restart a server that has not made the key reads no Secret that is encrypted with it, and what is written
    through it is encrypted with the key before, which is gone then: ADR 16 has why `rotate-keys` is used all the same.
    So none is made in a run that cannot restart all of them.

    Args:
        node: this server.
        not_before: a date, UTC; "" if keys are not made anew.
        tokens: what the layer k3s configures it with: says whether this server restarts in this very apply.
    """
    found = host.get_fact(Encryption)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot see how Secrets are encrypted on {node.node}: see the error above")
        return
    if isinstance(found, str):
        yield from _untold(node, tokens)
        return
    if found is None or not found["enabled"]:
        host.noop("no server runs here yet" if found is None else "Secrets are not encrypted: nothing to make anew")
        return
    due = k3s_rotation.key_is_due(found["key"], not_before)
    if found["alike"] and found["stage"] not in UNDER_WAY and not due:
        host.noop(f"Secrets are encrypted with {found['key']}")
        return
    makes = due and found["alike"] and found["stage"] not in UNDER_WAY
    if makes and (missing := k3s_rotation_gate.left_out(host, node)):
        host.noop(f"a new key of Secrets is made in a run over all servers; not in this one: {', '.join(missing)}")
        return
    yield from _new_key(node, found, makes)


def _untold(node: Node, tokens: Tokens | None) -> Commands:
    """One that still runs with an earlier token is restarted by the layer k3s, and tells afterwards."""
    found = k3s_gate.state_of(host, node)
    ready = None if isinstance(found, Unknown) or tokens is None else k3s_ready.ready_of(host, node, tokens, found)
    if isinstance(ready, k3s_ready.Ready) and k3s_ready.restart_reason(ready) is not None:
        host.noop(f"{node.node} restarts first: it does not tell how Secrets are encrypted")
        return
    yield from changes.refuse(
        f"cannot see how Secrets are encrypted on {node.node}: found that it runs and does not tell; "
        f"see `{STATUS}` there, then apply again"
    )


def _new_key(node: Node, found: EncryptionState, makes: bool) -> Commands:
    """A new one, if all agree on the one before; in any case a restart, after which this server has what etcd has."""
    before: list[PyinfraCommand] = []
    if makes:
        changes.attribute("key of Secrets", found["key"], "a new one")
        if k3s_rotation_gate.makes_key(host, node):
            before.append(StringCommand(ROTATE))
        else:
            changes.attribute(f"Secrets asked of {node.node}", "readable", UNREADABLE)
    if makes or found["stage"] in UNDER_WAY:
        before.append(k3s_rotation_gate.until_encrypted(node))
    why = "for the new key of Secrets" if makes else "its key of Secrets is another one than the others'"
    yield from _restarted(node, why, _restart(node), before)


# It is done by the server, which goes on where the command has given up waiting: the gate after it sees the end. Only
# the command's own limit is such an end: a timeout that the server answers with is a rotation that failed.
ROTATE = (
    f"said=$({K3S} secrets-encrypt rotate-keys 2>&1) || case $said in *Client.Timeout*) ;; "
    '*) echo "$said" >&2; exit 1;; esac'
)


def _restarted(node: Node, why: str, restart: PyinfraCommand, before: Sequence[PyinfraCommand] = ()) -> Commands:
    changes.attribute(f"{node.unit} process", "running", f"restarted, {why}")
    if node.role == "server":
        cluster = k3s_gate.asked_here(host, node)
        if isinstance(cluster, Unknown):
            yield from changes.refuse(f"cannot restart {node.unit} on {node.node}: who votes could not be read")
            return
        verdict = k3s_ahead.restartable(node, cluster)
        yield from changes.rule(QUORUM_RULE, passed=verdict.passed, arithmetic=verdict.arithmetic)
        if not verdict.passed:
            return
    yield from before
    yield k3s_gate.before_restart(node) if node.role == "server" else k3s_gate.servers_run(node)
    yield restart
    yield k3s_gate.after_start(node)


def _restart(node: Node, meanwhile: str = "true") -> StringCommand:
    """Stopped first, so that no gate believes the former process; started again whatever became of `meanwhile`."""
    start = f"systemctl start --no-block {node.unit}"
    return StringCommand(f"systemctl stop {node.unit} && {{ {meanwhile}; code=$?; {start}; exit $code; }}")
