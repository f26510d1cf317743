"""The S3 gateway's texts: what HAProxy is told to refuse, what it may log, and what a member does before it stops."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from operations import s3_gateway_drain
from operations.s3_gateway_config import NO_TRAILER, UNSIGNED_TRAILER, Gateway, drop_in, haproxy_cfg, malformed

GATEWAY = Gateway(
    address="10.77.0.11",
    port=9443,
    members={"srv-1": "10.77.0.11", "srv-2": "10.77.0.12", "wrk-1": "10.77.0.21"},
    gateways=["10.77.0.11", "10.77.0.12", "10.77.0.21", "10.77.0.22"],
    member_port=9000,
    domain="lab.internal",
)


def section(name: str) -> list[str]:
    """The lines of one section."""
    text = haproxy_cfg(GATEWAY)
    found = re.search(rf"^{name}\n((?:  .*\n|\n)+)", text, re.MULTILINE)
    assert found, text
    return [line.strip() for line in found[1].splitlines()]


def test_every_member_is_a_server_whose_certificate_must_name_it() -> None:
    servers = [line.split() for line in section("backend members") if line.startswith("server ")]
    assert servers == [
        ["server", "srv-1", "10.77.0.11:9000", "verifyhost", "srv-1.lab.internal"],
        ["server", "srv-2", "10.77.0.12:9000", "verifyhost", "srv-2.lab.internal"],
        ["server", "wrk-1", "10.77.0.21:9000", "verifyhost", "wrk-1.lab.internal"],
    ]
    [common] = [line for line in section("backend members") if line.startswith("default-server ")]
    assert "ssl ca-file /etc/unterbau/pki/ca.pem verify required" in common


def test_it_listens_on_the_nodes_address_and_loopback_with_tls_and_nowhere_else() -> None:
    binds = [line for line in haproxy_cfg(GATEWAY).splitlines() if line.strip().startswith("bind ")]
    assert [line.split()[1] for line in binds] == [
        "10.77.0.11:9443",
        "127.0.0.1:9443",
        "unix@/run/s3-gateway/statistics.sock",
    ]
    assert all(" ssl crt /etc/unterbau/pki/s3-gateway.pem" in line for line in binds[:2])
    assert binds[2].endswith(" mode 600")


def test_what_is_refused_is_refused_before_anything_is_passed_on() -> None:
    lines = section("frontend s3")
    rules = [line for line in lines if line.startswith("http-request deny")]
    assert [rule.rpartition(" if ")[2] for rule in rules] == [
        "changes replaces",
        "changes of_version !beside_data",
        "{ method POST } { path / }",
        "unsigned",
        "dots",
        "internal !health",
    ]
    waits = next(line for line in lines if line.startswith("http-request wait-for-body"))
    assert lines.index(waits) < min(lines.index(rule) for rule in rules)  # else a body is taken for the next request
    assert max(lines.index(rule) for rule in rules) < lines.index("default_backend members")
    named = [line for line in lines if line.startswith("acl unsigned ")]
    assert [line.split()[2] for line in named] == ["req.hdr(x-amz-content-sha256)", "query,url_dec,url_dec"]
    assert all(line.endswith(f"-m sub -i {UNSIGNED_TRAILER}") for line in named)


def test_only_what_changes_nothing_is_sent_twice() -> None:
    lines = section("backend members")
    assert "acl reads method GET HEAD" in lines
    assert "http-request disable-l7-retry unless reads" in lines


@pytest.mark.parametrize("text", re.findall(r'application/xml string "((?:[^"\\]|\\.)*)"', haproxy_cfg(GATEWAY)))
def test_every_answer_of_its_own_is_an_error_of_s3(text: str) -> None:
    answer = ElementTree.fromstring(text.replace('\\"', '"').encode())  # noqa: S314  # our own text
    assert answer.tag == "Error"
    assert [child.tag for child in answer] == ["Code", "Message"]
    assert all(child.text for child in answer)


def test_a_refused_trailer_says_what_to_set() -> None:
    assert "request_checksum_calculation=when_required" in NO_TRAILER


def test_the_log_has_neither_query_strings_nor_headers() -> None:
    """They carry signatures, credentials and customers' keys; the whole request line has the query string."""
    [line] = [line for line in section("frontend s3") if line.startswith("log-format ")]
    assert not re.search(r"%r\b|%HQ|%HU|%HP\b|%hr|%hs|%\[(?!var\(txn\.path\)\])", line)
    assert "http-request set-var(txn.path) path" in section("frontend s3")
    assert "capture" not in haproxy_cfg(GATEWAY)
    assert "option httplog" not in haproxy_cfg(GATEWAY)


def test_a_members_state_is_told_to_members_only() -> None:
    told = [line for line in section("frontend s3") if line.startswith("http-request return")]
    assert len(told) == 3
    assert all(line.endswith("} members") for line in told)
    assert "acl members src 10.77.0.11 10.77.0.12 10.77.0.21" in section("frontend s3")


def test_the_process_has_no_right_that_it_does_not_need() -> None:
    lines = drop_in().splitlines()
    for wanted in ("User=haproxy", "CapabilityBoundingSet=", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert wanted in lines


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"members": {"x\n  http-request allow": "10.77.0.11"}}, "found the name"),
        ({"members": {"a b": "10.77.0.11"}}, "found the name 'a b'"),
        ({"domain": "lab internal"}, "found the name 'lab internal'"),
        ({"members": {"srv-1": "10.77.0.11; reboot"}}, "does not appear to be an IPv4 or IPv6 address"),
        ({"address": "0"}, "does not appear to be an IPv4 or IPv6 address"),
        ({"gateways": ["$(reboot)"]}, "does not appear to be an IPv4 or IPv6 address"),
        ({"port": 443}, "found the port 443"),
        ({"members": {}}, "found no member"),
    ],
)
def test_what_cannot_stand_in_the_configuration_is_said(change: dict[str, object], said: str) -> None:
    assert said in str(malformed(replace(GATEWAY, **change)))  # type: ignore[arg-type]


def test_what_is_declared_can_stand_in_it() -> None:
    assert malformed(GATEWAY) is None


FAKES = """\
nft() {{ cat >> {seen}/rules; }}
sleep() {{ :; }}
curl() {{
  for last in "$@"; do :; done
  echo "$last" >> {seen}/asked
  case $last in *10.77.0.12:*) exit 7;; esac
  if [ "$(grep -c . {seen}/asked)" -gt 4 ]; then echo '0 0'; else echo '1 2'; fi
}}
"""


def test_a_member_refuses_new_connections_and_waits_until_no_gateway_has_a_request_left(tmp_path: object) -> None:
    """With nft and curl played: 10.77.0.12 does not answer, the others are done when they are asked again."""
    script = s3_gateway_drain.script(GATEWAY, "srv-2")
    seen = shlex.quote(str(tmp_path))
    ran = subprocess.run(
        ["sh", "-s", "begin"], input=FAKES.format(seen=seen) + script, text=True, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    rules = (tmp_path / "rules").read_text()  # type: ignore[operator]
    assert "elements = { 9000 timeout 60s }" in rules
    assert "reject with tcp reset" in rules
    asked = (tmp_path / "asked").read_text().split()  # type: ignore[operator]
    assert set(asked) == {f"https://{address}:9443/-/member/srv-2" for address in GATEWAY.gateways}
    assert len(asked) > 4


def test_the_refusal_ends_by_itself_when_the_script_was_killed() -> None:
    """Twice the time that a member waits: the table stays, empty."""
    assert "flags timeout" in s3_gateway_drain.script(GATEWAY, "srv-1")
    assert s3_gateway_drain.LIMIT_S * 2 == 60


def test_it_is_shell_that_dash_takes() -> None:
    ran = subprocess.run(["dash", "-n"], input=s3_gateway_drain.script(GATEWAY, "srv-1"), text=True, check=False)
    assert ran.returncode == 0
