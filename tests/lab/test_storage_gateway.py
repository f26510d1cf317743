"""The S3 gateway on real machines: what it refuses, what it hides from its clients, and how it changes under them."""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from zlib import crc32

import pytest

from tests.lab.conftest import LabCommand
from tests.lab.s3_client import sha256
from tests.lab.storage import Storage, storage, until

pytestmark = pytest.mark.lab

TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
CURL = "curl -s -m 20 --path-as-is --cacert /etc/unterbau/pki/ca.pem -w '\\n%{http_code}'"
OLD = {f"gateway/{number}": size for number, size in enumerate((1, 4000, 200_000, 2**20, 5 * 2**20))}
HASHES = {name: sha256(name, size) for name, size in OLD.items()}


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with storage(spare_command, tmp_path_factory.mktemp("gateway")) as made:
        said = made.client(made.nodes[0])("write", bucket=made.bucket, sizes=OLD)
        assert said["failed"] == {}
        yield made


def asked(cluster: Storage, url: str, *options: str, node: str = "") -> tuple[int, str]:
    """(status, body) of one request by curl on a node."""
    words = " ".join(shlex.quote(word) for word in (*options, url))
    body, _, status = cluster.on(node or cluster.nodes[0], f"{CURL} {words}").rpartition("\n")
    return int(status), body


def gateway(cluster: Storage) -> str:
    return f"https://s3.{cluster.lab.name}.internal:9443"


def member(cluster: Storage) -> str:
    return f"https://{cluster.nodes[0]}:9000"


def forged(
    cluster: Storage, name: str, header: str | None = f"X-Amz-Content-Sha256: {TRAILER}"
) -> tuple[str, list[str]]:
    """(path, curl's options) of a write that nobody signed: with an access key, without its secret."""
    now = datetime.now(UTC)
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=unterbau%2F{now:%Y%m%d}%2Fus-east-1%2Fs3%2Faws4_request"
        f"&X-Amz-Date={now:%Y%m%dT%H%M%SZ}&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature={'0' * 64}"
    )
    checksum = b64encode(crc32(b"forged").to_bytes(4)).decode()
    body = f"6\r\nforged\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n"
    headers = [
        "X-Amz-Trailer: x-amz-checksum-crc32",
        "X-Amz-Decoded-Content-Length: 6",
        f"X-Amz-Date: {now:%Y%m%dT%H%M%SZ}",
        *([header] if header else []),
    ]
    options = [word for one in headers for word in ("-H", one)]
    return f"/{cluster.bucket}/{name}?{query}", ["-X", "PUT", "--data-binary", body, *options]


def exists(cluster: Storage, name: str) -> bool:
    return name in cluster.client(cluster.nodes[0])("listing", bucket=cluster.bucket, prefix=name)["names"]


def test_the_name_is_each_nodes_own_gateway(cluster: Storage) -> None:
    for one in cluster.lab.machines:
        found = cluster.on(one.name, f"getent ahostsv4 s3.{cluster.lab.name}.internal").split()[0]
        assert found == str(one.address)
        assert asked(cluster, f"{gateway(cluster)}/minio/health/live", node=one.name)[0] == 200


def test_a_member_takes_a_write_that_nobody_signed_and_the_gateway_does_not(cluster: Storage) -> None:
    """The guard is needed: without it the write is there."""
    path, options = forged(cluster, "forged-at-member")
    assert asked(cluster, member(cluster) + path, *options)[0] == 200
    assert exists(cluster, "forged-at-member")
    path, options = forged(cluster, "forged-at-gateway")
    status, said = asked(cluster, gateway(cluster) + path, *options)
    assert (status, "request_checksum_calculation=when_required" in said) == (400, True)
    assert "<Code>InvalidRequest</Code>" in said
    assert not exists(cluster, "forged-at-gateway")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([f"x-amz-content-sha256: {TRAILER.lower()}"], ""),
        ([f"X-AMZ-CONTENT-SHA256:   {TRAILER}  "], ""),
        (["X-Amz-Content-Sha256: UNSIGNED-PAYLOAD", f"X-Amz-Content-Sha256: {TRAILER}"], ""),
        ([f"X-Amz-Content-Sha256: {TRAILER}", "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD"], ""),
        ([f"X-Amz-Content-Sha256: UNSIGNED-PAYLOAD, {TRAILER}"], ""),
        ([], f"&X-Amz-Content-Sha256={TRAILER}"),
        ([], f"&x-amz-content%2Dsha256={TRAILER.replace('PAYLOAD', '%50AYLOAD')}"),
    ],
)
def test_however_it_is_written(cluster: Storage, headers: list[str], query: str) -> None:
    path, options = forged(cluster, "forged-otherwise", header=None)
    more = [word for one in headers for word in ("-H", one)]
    status, said = asked(cluster, gateway(cluster) + path + query, *options, *more)
    assert (status, TRAILER in said) == (400, True)
    assert not exists(cluster, "forged-otherwise")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/minio/admin/v3/info", 403), ("//minio/admin/v3/info", 403), ("/%6dinio/admin/v3/info", 403),
        ("/%256dinio/admin/v3/info", 403), ("/minio%2Fadmin/v3/info", 403), ("/MinIO/admin/v3/info", 403),
        ("/minio", 403), ("/minio/v2/metrics/cluster", 403), ("/minio/kms/v1/status", 403), ("/minio/grid/v1", 403),
        ("/.minio.sys/config/config.json", 403), ("/minio/health/live/x", 403), ("/minio/health%2Flive", 403),
        ("/minio/../minio/admin/v3/info", 400), ("/minio/health/../admin/v3/info", 400),
        ("/x/%2e%2e/minio/admin/v3/info", 400), ("/./minio/admin/v3/info", 400),
        ("/minio/health/live", 200), ("/minio/health/cluster", 200),
    ],
)  # fmt: skip
def test_what_is_the_administrators_is_not_served(cluster: Storage, path: str, status: int) -> None:
    code, said = asked(cluster, gateway(cluster) + path)
    assert code == status
    assert status == 200 or said.startswith('<?xml version="1.0" encoding="UTF-8"?><Error><Code>')


def test_nor_with_the_whole_address_in_the_request(cluster: Storage) -> None:
    for scheme in ("http", "https"):
        target = f"{scheme}://s3.{cluster.lab.name}.internal:9443/minio/admin/v3/info"
        assert asked(cluster, f"{gateway(cluster)}/", "--request-target", target)[0] == 403


def test_the_log_keeps_no_signature_and_no_credential(cluster: Storage) -> None:
    path, options = forged(cluster, "forged-for-the-log")
    asked(cluster, gateway(cluster) + path, *options)
    log = ""

    def is_logged() -> bool:  # after the answer, by way of the journal
        nonlocal log
        log = cluster.on(cluster.nodes[0], "journalctl --sync; journalctl -u haproxy -o cat --no-pager")
        return f"PUT /{cluster.bucket}/forged-for-the-log\n" in log

    until(is_logged)
    assert not [word for word in ("X-Amz", "Signature", "Credential", "?", "0" * 64) if word in log]


def test_only_root_sees_its_sockets_and_it_is_nobody_itself(cluster: Storage) -> None:
    node = cluster.nodes[0]
    assert cluster.on(node, "stat -c '%a %U' /run/s3-gateway /run/s3-gateway/*.sock").split("\n")[:3] == [
        "700 haproxy", "600 haproxy", "600 haproxy",
    ]  # fmt: skip
    status = cluster.on(node, "cat /proc/$(systemctl show -P MainPID haproxy)/status")
    assert "CapEff:\t0000000000000000" in status
    assert "Uid:\t0" not in status


def loaded(cluster: Storage, node: str, meanwhile: object) -> dict[str, int]:
    """{outcome: count} of a client that reads and writes while `meanwhile` is done."""
    client = cluster.another_client(node)  # its line is busy: what is asked meanwhile goes to the usual one
    started = client("load", bucket=cluster.bucket, prefix=f"load/{node}", old=HASHES, sizes=[1000, 100_000, 2**20])
    assert started == {"loading": True}
    meanwhile()  # type: ignore[operator]
    said = client.end_load()
    client.close()
    counts: dict[str, int] = said["counts"]
    missing = cluster.client(node)("read", bucket=cluster.bucket, hashes=said["written"])
    assert (missing["wrong"], missing["failed"]) == ([], {})
    return counts


def test_a_changed_configuration_is_read_without_losing_a_request(cluster: Storage) -> None:
    node = cluster.nodes[0]
    cluster.on(node, "sed -i 's/retries 4/retries 3/' /etc/haproxy/haproxy.cfg; systemctl reload haproxy")
    counts = loaded(cluster, node, cluster.apply)
    assert counts.keys() == {"read ok", "write ok"}, counts
    assert cluster.plan()[0] == 0


def test_a_configuration_that_does_not_load_replaces_none_that_does(cluster: Storage) -> None:
    node = cluster.nodes[0]
    cluster.on(node, "echo nonsense >> /etc/haproxy/haproxy.cfg; ! systemctl reload haproxy 2>/dev/null")
    assert asked(cluster, f"{gateway(cluster)}/minio/health/live")[0] == 200
    assert cluster.plan()[0] == 2
    cluster.apply()
    assert asked(cluster, f"{gateway(cluster)}/minio/health/live")[0] == 200
    assert cluster.plan()[0] == 0


def test_a_renewed_certificate_is_shown_without_a_restart(cluster: Storage) -> None:
    node = cluster.nodes[0]
    show = "openssl s_client -connect 127.0.0.1:9443 </dev/null 2>/dev/null | openssl x509 -noout -serial"
    process = "systemctl show -p ExecMainStartTimestamp -p MainPID haproxy"
    before = cluster.on(node, show), cluster.on(node, process)
    cluster.on(node, "rm /etc/unterbau/pki/s3-gateway.pem")
    cluster.apply()
    after = cluster.on(node, show), cluster.on(node, process)
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_members_restarted_in_turn_are_not_noticed(cluster: Storage) -> None:
    """By clients that never try again; whoever restarts a member, its unit has it take its leave."""
    node = cluster.nodes[0]

    def in_turn() -> None:
        for one in cluster.nodes:
            cluster.on(one, "systemctl restart minio")
            cluster.until_serving(one)
            until(lambda: "gw_members_up 5" in members_up(cluster, node))
            cluster.until_all_see_all("gateway/4")

    counts = loaded(cluster, node, in_turn)
    print(f"restarted in turn: {counts}")  # noqa: T201
    assert counts.keys() == {"read ok", "write ok"}, counts


def members_up(cluster: Storage, node: str) -> str:
    rows = cluster.on(node, "curl -s --unix-socket /run/s3-gateway/statistics.sock 'http://x/;csv' | grep ^members,")
    # "UP 1/2" is on its way down, and still asked.
    up = [row for row in rows.splitlines() if row.split(",")[1] != "BACKEND" and row.split(",")[17].startswith("UP")]
    return f"gw_members_up {len(up)}"


def test_three_members_away_is_a_quick_and_clean_no(cluster: Storage) -> None:
    away = cluster.nodes[2:]
    for node in away:
        cluster.on(node, "systemctl stop minio")
    until(lambda: "gw_members_up 0" in members_up(cluster, cluster.nodes[0]))
    status, said = asked(cluster, f"{gateway(cluster)}/{cluster.bucket}/gateway/1")
    assert (status, "<Code>ServiceUnavailable</Code>" in said) == (503, True)
    assert cluster.apply().count("minio.service active: inactive -> active") == len(away)
    cluster.until_serving(*cluster.nodes)
    until(lambda: "gw_members_up 5" in members_up(cluster, cluster.nodes[0]))
    cluster.read(cluster.nodes[:1], HASHES)


def test_a_body_that_breaks_off_is_no_object(cluster: Storage) -> None:
    """curl says that it sends 4000 bytes, and sends 5: the member sees no end, and neither does anybody else."""
    path, options = forged(cluster, "half", header="X-Amz-Content-Sha256: UNSIGNED-PAYLOAD")
    words = " ".join(map(shlex.quote, [*options, gateway(cluster) + path]))
    cluster.on(cluster.nodes[0], f"{CURL} -m 3 -H 'Content-Length: 4000' {words} || true")
    assert not exists(cluster, "half")
