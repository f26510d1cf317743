"""The internal PKI against those who use it: OpenSSL, Python's ssl, and a plan that is made twice."""

from __future__ import annotations

import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyinfra.context import ctx_host, ctx_state
from pyinfra_testing.util import FakeState, create_host

from facts.config_file import ABSENT
from operations import certificate
from unterbau.changes import recording
from unterbau.domain.root_rotation import Signing, signing
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.pki import Leaf, PkiError

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT, NEXT = (pki.new_root("test root", 3650, NOW - timedelta(days=200)) for _ in range(2))
LEAF = Leaf("openbao", ("localhost", "srv-1.internal"), ("127.0.0.1", "::1"))


def openssl_says(tmp_path: Path, leaf: Hidden, bundle: str, *options: str) -> str:
    (tmp_path / "leaf.pem").write_text(leaf.unmask())
    (tmp_path / "ca.pem").write_text(bundle)
    trust = ["-no-CApath", "-no-CAstore", "-CAfile", "ca.pem"]
    command = ["openssl", "verify", "-x509_strict", *trust, *options, "leaf.pem"]
    ran = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    return ran.stdout + ran.stderr


def public(*roots: Hidden) -> str:
    return "".join(map(pki.root_certificate, roots))


def key_lines(*texts: Hidden) -> list[str]:
    return [line for text in texts for line in text.unmask().split("-----END PRIVATE")[0].splitlines()[1:]]


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_accepts_a_leaf_by_its_own_root_only(tmp_path: Path, purpose: str) -> None:
    leaf = pki.issue(ROOT, LEAF, NOW)
    assert openssl_says(tmp_path, leaf, public(ROOT), "-purpose", purpose) == "leaf.pem: OK\n"
    assert openssl_says(tmp_path, leaf, public(NEXT, ROOT), "-purpose", purpose) == "leaf.pem: OK\n"
    assert "unable to get local issuer certificate" in openssl_says(tmp_path, leaf, public(NEXT))


def test_a_client_certificate_serves_nothing(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)  # this one is short: a long run of tests would outlive it
    client = pki.client_certificate(ROOT, "unterbau-deploy", timedelta(minutes=30), now)
    assert openssl_says(tmp_path, client, public(ROOT), "-purpose", "sslclient") == "leaf.pem: OK\n"
    assert "unsuitable certificate purpose" in openssl_says(tmp_path, client, public(ROOT), "-purpose", "sslserver")
    found = pki.read_certificate(client.unmask())
    assert (found.subject, found.not_after - now) == ("CN=unterbau-deploy", timedelta(minutes=30))


def test_a_leaf_signs_nothing(tmp_path: Path) -> None:
    """Whoever gets at a service's key gets no authority with it."""
    leaf = pki.issue(ROOT, LEAF, NOW)
    (tmp_path / "parent.pem").write_text(leaf.unmask())
    child = pki.issue(leaf, LEAF, NOW)
    assert "invalid CA certificate" in openssl_says(tmp_path, child, public(ROOT), "-untrusted", "parent.pem")


def context(tmp_path: Path, side: int, own: Hidden, bundle: str) -> ssl.SSLContext:
    file = tmp_path / f"{int(side)}.pem"
    file.write_text(own.unmask())
    made = ssl.SSLContext(side)
    made.load_cert_chain(file)
    made.load_verify_locations(cadata=bundle)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    return made


def handshake(
    tmp_path: Path, *, leaf: Hidden, server_trusts: str, client_trusts: str, name: str = "127.0.0.1"
) -> tuple[str, str]:
    """Both sides show `leaf` on a loopback connection: what each of them says, "OK" or the reason why not."""
    server = context(tmp_path, ssl.PROTOCOL_TLS_SERVER, leaf, server_trusts)
    client = context(tmp_path, ssl.PROTOCOL_TLS_CLIENT, leaf, client_trusts)

    def answer(listener: socket.socket) -> str:
        connection = listener.accept()[0]
        connection.settimeout(20)
        try:
            with server.wrap_socket(connection, server_side=True) as secured:
                secured.sendall(b"hello")
        except (ssl.SSLError, OSError) as error:
            return str(error)
        return "OK"

    def ask(port: int) -> str:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
                client.wrap_socket(connection, server_hostname=name) as secured,
            ):
                return "OK" if secured.recv(5) == b"hello" else "closed"
        except (ssl.SSLError, OSError) as error:
            return str(error)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(20)
        answered = pool.submit(answer, listener)
        said = ask(listener.getsockname()[1])
        return answered.result(), said


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "srv-1.internal"])
def test_both_sides_of_a_connection_accept_a_leaf(tmp_path: Path, name: str) -> None:
    leaf = pki.issue(ROOT, LEAF, NOW)
    trust = {"server_trusts": public(ROOT), "client_trusts": public(ROOT)}
    assert handshake(tmp_path, leaf=leaf, name=name, **trust) == ("OK", "OK")


def test_another_name_is_refused(tmp_path: Path) -> None:
    leaf = pki.issue(ROOT, LEAF, NOW)
    trust = {"server_trusts": public(ROOT), "client_trusts": public(ROOT)}
    assert "Hostname mismatch" in handshake(tmp_path, leaf=leaf, name="srv-2.internal", **trust)[1]


@pytest.mark.parametrize("signer", [ROOT, NEXT])
def test_while_two_roots_are_trusted_leaves_of_both_work(tmp_path: Path, signer: Hidden) -> None:
    """They have the same name: only their keys tell them apart."""
    leaf = pki.issue(signer, LEAF, NOW)
    trust = {"server_trusts": public(NEXT, ROOT), "client_trusts": public(NEXT, ROOT)}
    assert handshake(tmp_path, leaf=leaf, **trust) == ("OK", "OK")


def test_a_root_that_was_retired_proves_nothing(tmp_path: Path) -> None:
    old, new = pki.issue(ROOT, LEAF, NOW), pki.issue(NEXT, LEAF, NOW)
    retired = {"server_trusts": public(NEXT), "client_trusts": public(NEXT)}
    assert handshake(tmp_path, leaf=new, **retired) == ("OK", "OK")
    assert "certificate verify failed" in handshake(tmp_path, leaf=old, **retired)[1]
    behind = {"server_trusts": public(NEXT), "client_trusts": public(ROOT)}  # a node without the new bundle
    assert "certificate verify failed" in handshake(tmp_path, leaf=new, **behind)[1]


def test_a_leaf_says_what_was_asked_for() -> None:
    found = pki.read_certificate(pki.issue(ROOT, LEAF, NOW).unmask())
    assert (found.subject, found.issuer) == ("CN=openbao", "CN=test root")
    assert (found.dns_names, found.addresses, found.other_names) == (LEAF.dns_names, LEAF.addresses, ())
    assert (found.usages, found.is_authority) == (("client", "server"), False)
    assert (found.not_before, found.life) == (NOW - pki.CLOCK_TOLERANCE, LEAF.life)
    assert found.renew_after == found.not_before + timedelta(days=60)
    signer = pki.signed_by(found, [public(NEXT), public(ROOT)])
    assert signer is not None
    assert signer.pem == public(ROOT)
    assert signer.key_id == found.issuer_key_id


def test_openssl_reads_the_same_fingerprint() -> None:
    leaf = pki.issue(ROOT, LEAF, NOW).unmask()
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    said = subprocess.run(command, input=leaf, text=True, capture_output=True, check=True).stdout
    assert said.strip().partition("=")[2].replace(":", "").lower() == pki.read_certificate(leaf).fingerprint


def test_a_leaf_ends_with_its_issuer() -> None:
    short = pki.new_root("short", 30, NOW)
    assert (
        pki.read_certificate(pki.issue(short, LEAF, NOW).unmask()).not_after
        == pki.read_certificate(short.unmask()).not_after
    )


@pytest.mark.parametrize("days", [-1, 31])
def test_an_issuer_signs_in_its_own_time_only(days: int) -> None:
    with pytest.raises(PkiError, match=r"found it valid from .* only; rotate it"):
        pki.issue(pki.new_root("short", 30, NOW), LEAF, NOW + timedelta(days=days))


def test_a_name_or_an_identifier_is_no_signature() -> None:
    """A stranger copies the root's name and its identifier: openssl would say where it comes from, and be wrong."""
    root = x509.load_pem_x509_certificate(public(ROOT).encode())
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\x1b[2Jb")]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    found = pki.read_certificate(forged.public_bytes(pki.Encoding.PEM).decode())
    assert found.issuer_key_id == pki.read_certificate(public(ROOT)).key_id
    assert pki.signed_by(found, [public(ROOT), public(NEXT)]) is None
    assert found.subject == "CN=a?[2Jb"  # and no terminal is cleared by a plan


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (Leaf("x" * 65, ("a",)), "found 65 characters, X.509 allows 1 to 64"),
        (Leaf("", ("a",)), "found 0 characters"),
        (Leaf("x", ("bücher.example",)), "write an ASCII host name"),
        (Leaf("x", (), ("10.0.0.0/8",)), "does not appear to be an IPv4 or IPv6 address"),
    ],
)
def test_what_is_no_name_is_refused(leaf: Leaf, said: str) -> None:
    with pytest.raises(PkiError, match=said):
        pki.issue(ROOT, leaf, NOW)


def _broken(text: str) -> str:
    return text.replace("\nMI", "\nMX")


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        public(ROOT),
        ROOT.unmask().split("-----BEGIN CERT")[0],
        ROOT.unmask().split("-----BEGIN CERT")[0] + public(NEXT),
        _broken(ROOT.unmask()),
        ROOT.unmask()[: len(ROOT.unmask()) // 2],
    ],
    ids=["empty", "no key", "no certificate", "another's key", "damaged", "truncated"],
)
def test_a_broken_issuer_is_a_sentence_that_quotes_no_key(issuer: str) -> None:
    with pytest.raises(PkiError, match=r"^cannot .*; .*") as raised:
        pki.issue(Hidden(issuer), LEAF, NOW)
    assert not [line for line in key_lines(ROOT) if line in str(raised.value)]


def test_a_damaged_bundle_is_said_to_be() -> None:
    assert pki.read_certificates("") == pki.read_certificates("# nothing here\n") == []
    assert [one.pem for one in pki.read_certificates(public(NEXT, ROOT))] == [public(NEXT), public(ROOT)]
    with pytest.raises(PkiError, match="found damaged PEM text"):
        pki.read_certificates(public(NEXT) + _broken(public(ROOT)))


@pytest.mark.parametrize(
    ("roots", "every_node", "expected"),
    [
        (1, True, Signing(0, 1, True)),
        (1, False, Signing(0, 1, True)),
        (2, True, Signing(0, 1, False)),
        (2, False, Signing(1, 2, True)),
        (3, False, Signing(1, 3, True)),
    ],
)
def test_a_new_root_signs_only_where_every_node_takes_part(roots: int, every_node: bool, expected: Signing) -> None:
    assert signing(roots, every_node=every_node) == expected


FRESH = {"file": ABSENT, "leftovers": [], "blocks": [], "certificate": None, "key_fingerprint": None}


def asked_of_a_fresh_node(root: Hidden, failed: tuple[str, ...] = ()) -> tuple[list[object], list[str]]:
    """(what the operation says, its commands as a log shows them), with a root that is new to the nodes."""
    state = FakeState()
    state.failed_hosts = [SimpleNamespace(name=name) for name in failed]
    here = {"service=openbao": {**FRESH, "now_s": datetime.now(UTC).timestamp()}}
    bundle = dict.fromkeys((*certificate.FOLDERS, certificate.BUNDLE), ABSENT)
    host = create_host(state, facts={"certificate.Leaf": here, "certificate.Trusted": bundle})
    host.name = "wrk-2"
    with ctx_state.use(state), ctx_host.use(host), recording() as record:
        commands = [
            *certificate.trusted._inner({"pki/root version 2": root}),
            *certificate.leaf._inner(
                "openbao", root, "pki/root version 2", {"pki/root version 2": root}, dns_names=["srv-1"],
                addresses=["10.0.0.1"], life_days=90, user="openbao", group="openbao", all_nodes_trust_it=False,
            ),
        ]  # fmt: skip
    return [*record.changes, *record.refusals], [str(command) for command in commands]


def test_a_plan_is_the_same_for_a_root_that_each_run_would_make_anew() -> None:
    """Until it is stored it has another key, fingerprint and length in each plan; the digest must not know."""
    said = [asked_of_a_fresh_node(pki.new_root("test root" * size, 3650, NOW)) for size in (1, 7)]
    assert said[0] == said[1]
    assert len(said[0][0]) == 4


def test_no_key_stands_in_a_command_or_in_what_is_said() -> None:
    text = str(asked_of_a_fresh_node(ROOT))
    assert "cat >" in text
    assert "PRIVATE" not in text
    assert not [line for line in key_lines(ROOT) if line in text]


def test_the_new_root_does_not_sign_once_a_node_may_have_missed_it() -> None:
    said, _ = asked_of_a_fresh_node(ROOT, failed=("srv-2", "srv-1"))
    assert said[-1] == (
        "cannot sign the certificate of openbao on wrk-2 with pki/root version 2: srv-1, srv-2 failed in this run and "
        "may not trust it yet; put that right and apply again"
    )


def test_a_key_is_read_on_the_node_and_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fact's own command, run here: what it prints has the certificate and no line of the key."""
    monkeypatch.setattr("facts.certificate.FOLDERS", (str(tmp_path),))
    leaf = pki.issue(ROOT, LEAF, NOW)
    (tmp_path / "openbao.pem").write_text(leaf.unmask())
    fact = certificate.Leaf()
    out = subprocess.run(["sh", "-c", fact.command("openbao")], text=True, capture_output=True, check=True)
    state = fact.process(out.stdout.splitlines())
    assert isinstance(state, dict)
    assert state["certificate"] is not None
    assert state["key_fingerprint"] == state["certificate"]["key_fingerprint"]
    assert not [line for line in key_lines(leaf) if line in out.stdout + out.stderr]
