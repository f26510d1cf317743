"""The lab cloud's sockets: TLS, bodies, metadata; and the limits of a project."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.unit.lab_cloud import HEADERS, TOKEN, WatchedApi, public_key
from unterbau.lab.cloud.http_face import Tls, listening, respond_as_api, respond_as_metadata
from unterbau.lab.cloud.limits import Limits
from unterbau.secrets import pki

SERVER = {"name": "prod-servers-1", "server_type": "cx32", "image": "debian-12", "location": "nbg1"}


def made(api: WatchedApi, path: str, **body: object) -> Any:
    content = api.ask("POST", path, json.dumps(body))
    api.settle()
    return content


def error(content: Any) -> str:
    return str(content["error"]["code"])


def test_metadata_is_for_the_server_that_asks() -> None:
    api = WatchedApi(TOKEN)
    made(api, "/ssh_keys", name="k", public_key=public_key())
    subnets = [{"type": "cloud", "network_zone": "eu-central", "ip_range": "10.0.1.0/24"}]
    network = made(api, "/networks", name="n", ip_range="10.0.0.0/16", subnets=subnets)["network"]["id"]
    created = made(api, "/servers", **SERVER, ssh_keys=["k"], networks=[network], user_data="#cloud-config\n")
    ip, root = created["server"]["public_net"]["ipv4"]["ip"], "/hetzner/v1"
    for source in (ip, "10.0.1.1"):
        assert api.metadata(source, f"{root}/userdata").body == b"#cloud-config\n"
        found = yaml.safe_load(api.metadata(source, f"{root}/metadata").body)
        assert (found["hostname"], found["instance-id"]) == ("prod-servers-1", created["server"]["id"])
        assert (found["public-keys"], found["region"]) == ([public_key()], "eu-central")
    [net] = yaml.safe_load(api.metadata(ip, f"{root}/metadata/private-networks").body)
    assert (net["ip"], net["gateway"], net["subnet"]) == ("10.0.1.1", "10.0.0.1", "10.0.1.0/24")
    assert api.metadata(ip, f"{root}/metadata/public-ipv4").body.decode() == ip
    assert api.metadata(ip, f"{root}/metadata/local-ipv4").body == b"10.0.1.1"
    assert api.metadata(ip, f"{root}/metadata/x").status == api.metadata("10.9.9.9", f"{root}/userdata").status == 404


def test_metadata_over_http_knows_the_address_of_the_connection() -> None:
    api = WatchedApi(TOKEN)
    ip = made(api, "/primary_ips", name="p", type="ipv4", location="nbg1")["primary_ip"]["id"]
    api.project.get("primary_ips", ip)["ip"] = "127.0.0.1"
    made(api, "/servers", **SERVER, public_net={"ipv4": ip}, user_data="hello")
    with listening(respond_as_metadata(api)) as url:
        assert requests.get(f"{url}/hetzner/v1/userdata", timeout=10).text == "hello"
        made_up = {"X-Forwarded-For": "198.18.0.1"}
        assert requests.get(f"{url}/hetzner/v1/userdata", headers=made_up, timeout=10).text == "hello"
        assert requests.get(f"{url}/v1/servers", timeout=10).status_code == 404


def test_nothing_is_said_where_there_is_no_user_data() -> None:
    api = WatchedApi(TOKEN)
    created = made(api, "/servers", **SERVER)
    assert api.metadata(created["server"]["public_net"]["ipv4"]["ip"], "/hetzner/v1/userdata").status == 404


def test_a_body_that_is_too_long_is_not_read() -> None:
    api = WatchedApi(TOKEN)
    with listening(respond_as_api(api)) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as stream:
            stream.sendall(b"POST /v1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
            assert b" 422 " in stream.makefile("rb").readline()
    assert api.requests == []


def test_many_requests_use_one_connection() -> None:
    api = WatchedApi(TOKEN)
    with listening(respond_as_api(api)) as url, requests.Session() as session:
        session.headers.update({"Authorization": HEADERS["authorization"]})
        for _ in range(3):
            session.post(f"{url}/v1/networks", json={"name": "n", "ip_range": "10.0.0.0/16"}, timeout=10)
            number = session.get(f"{url}/v1/networks", timeout=10).json()["networks"][0]["id"]
            assert session.delete(f"{url}/v1/networks/{number}", timeout=10).status_code == 204
        assert [pool.num_connections for pool in pools(session)] == [1]


def pools(session: requests.Session) -> list[Any]:
    adapter = session.get_adapter("http://127.0.0.1")
    manager = adapter.poolmanager  # type: ignore[attr-defined]
    return [manager.pools[key] for key in manager.pools.keys()]  # noqa: SIM118  # it is no mapping


@pytest.mark.parametrize(
    ("limits", "path", "bodies"),
    [
        (Limits(servers=1), "/servers", [SERVER, {**SERVER, "name": "b"}]),
        (Limits(primary_ips=3), "/servers", [SERVER, {**SERVER, "name": "b"}]),
        (Limits(), "/placement_groups", [{"name": f"g-{number}", "type": "spread"} for number in range(51)]),
        (Limits(), "/firewalls", [{"name": f"f-{number}"} for number in range(51)]),
        (Limits(volumes=0), "/volumes", [{"name": "v", "size": 10, "location": "fsn1"}]),
        (Limits(load_balancers=0), "/load_balancers",
         [{"name": "l", "load_balancer_type": "lb11", "location": "fsn1"}]),
        (Limits(floating_ips=0), "/floating_ips", [{"type": "ipv4", "home_location": "fsn1"}]),
    ],
)  # fmt: skip
def test_limits_of_a_project(limits: Limits, path: str, bodies: list[dict[str, object]]) -> None:
    api = WatchedApi(TOKEN, limits=limits)
    for body in bodies[:-1]:
        assert "error" not in made(api, path, **body)
    before = api.project.state()["tables"]
    assert error(made(api, path, **bodies[-1])) == "resource_limit_exceeded"
    assert api.project.state()["tables"] == before


def test_a_network_has_50_subnets_and_100_members() -> None:
    api = WatchedApi(TOKEN)
    subnets = [{"type": "cloud", "network_zone": "eu-central", "ip_range": f"10.0.{n}.0/24"} for n in range(50)]
    network = made(api, "/networks", name="n", ip_range="10.0.0.0/16", subnets=subnets)["network"]["id"]
    path = f"/networks/{network}/actions/add_subnet"
    assert error(made(api, path, type="cloud", network_zone="eu-central")) == "resource_limit_exceeded"
    balancer = {"load_balancer_type": "lb11", "location": "nbg1", "network": network}
    assert "error" not in api.ask("POST", "/load_balancers", json.dumps({**balancer, "name": "l"}))
    for number in range(99):
        body = {**SERVER, "name": f"s-{number}", "networks": [network]}
        assert "error" not in api.ask("POST", "/servers", json.dumps(body))
    body = {**SERVER, "name": "s-99", "networks": [network]}
    assert error(api.ask("POST", "/servers", json.dumps(body))) == "resource_limit_exceeded"
    api.settle()
    assert error(api.ask("POST", "/servers", json.dumps(body))) == "resource_limit_exceeded"
    assert error(api.ask("POST", "/load_balancers", json.dumps({**balancer, "name": "m"}))) == "resource_limit_exceeded"


def test_tls(tmp_path: Path) -> None:
    files = tls_files(tmp_path)
    with listening(respond_as_api(WatchedApi(TOKEN)), tls=files) as url:
        assert url.startswith("https://127.0.0.1:")
        authority = str(tmp_path / "ca.pem")
        headers = {"Authorization": HEADERS["authorization"]}
        assert requests.get(f"{url}/v1/servers", headers=headers, verify=authority, timeout=10).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{url}/v1/servers", headers=headers, timeout=10)


def tls_files(folder: Path) -> Tls:
    now = datetime.now(UTC).replace(microsecond=0)
    root = pki.new_root("lab cloud", 30, now)
    (folder / "ca.pem").write_text(pki.root_certificate(root))
    pem = folder / "server.pem"
    pem.write_text(pki.issue(root, pki.Leaf("cloud", addresses=("127.0.0.1",)), now).unmask())
    return Tls(certificate=pem, key=pem)
