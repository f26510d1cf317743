"""The lab's load balancers pass connections on: to healthy targets only, in turn, from their own address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from unterbau.lab.cloud import filtering
from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.balancing import Balancing
from unterbau.lab.errors import LabError
from unterbau.lab.layout import lab_from

BALANCER, OTHER = "127.0.77.1", "127.0.77.2"
TARGETS = ("127.0.77.11", "127.0.77.12")
CHECK = {"protocol": "tcp", "interval": 0.02, "timeout": 1, "retries": 0}


class Target:
    """Says its name and who asks; HTTP requests it answers with a status."""

    def __init__(self, address: str) -> None:
        self.name = address
        self.status = 200
        self.heard: list[bytes] = []
        self.port = 0
        self.server: asyncio.Server

    async def listen(self, port: int) -> None:
        self.server = await asyncio.start_server(self._answer, self.name, port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        self.heard.append(line)
        source = writer.get_extra_info("peername")[0]
        said = f"HTTP/1.0 {self.status} x\r\n\r\n" if line.startswith(b"GET") else f"{self.name} {source}"
        writer.write(said.encode())
        await reader.read()
        writer.close()


@asynccontextmanager
async def balanced() -> AsyncIterator[tuple[Balancing, list[Target]]]:
    targets = [Target(address) for address in TARGETS]
    await targets[0].listen(0)
    await targets[1].listen(targets[0].port)
    balancing = Balancing()
    yield balancing, targets
    await balancing.serve([])
    for one in targets:
        one.server.close()


def record(targets: list[Target], listen_port: int, **service: object) -> Record:
    port = targets[0].port
    return {
        "id": 1, "private_net": [{"network": 2, "ip": BALANCER}], "ipv4": OTHER, "public_interface": False,
        "algorithm": {"type": "round_robin"}, "backends": list(TARGETS),
        "services": [{
            "listen_port": listen_port, "destination_port": port, "proxyprotocol": False,
            "health_check": {**CHECK, "port": port}, **service,
        }],
    }  # fmt: skip


def free_port() -> int:
    with socket.create_server((BALANCER, 0)) as one:
        port: int = one.getsockname()[1]
        return port


async def asked(port: int, address: str = BALANCER) -> str:
    """What is answered; "" if nobody does."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(b"hello\n")
        writer.write_eof()
        return (await reader.read()).decode()
    except ConnectionResetError:
        return ""
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_healthy_targets_take_turns_and_a_dead_one_is_passed_over() -> None:
    async def story() -> None:
        async with balanced() as (balancing, targets):
            port, check = free_port(), targets[0].port
            await balancing.serve([record(targets, port)])
            await until(lambda: all(balancing.health(one, check) == "healthy" for one in TARGETS))
            assert {await asked(port) for _ in range(4)} == {f"{one} {BALANCER}" for one in TARGETS}
            targets[0].server.close()
            await until(lambda: balancing.health(TARGETS[0], check) == "unhealthy")
            assert {await asked(port) for _ in range(4)} == {f"{TARGETS[1]} {BALANCER}"}
            targets[1].server.close()
            await until(lambda: balancing.health(TARGETS[1], check) == "unhealthy")
            assert not await asked(port)

    asyncio.run(story())


def test_what_changes_is_served_and_what_goes_is_not() -> None:
    async def story() -> None:
        async with balanced() as (balancing, targets):
            first, second, check = free_port(), free_port(), targets[0].port
            await balancing.serve([record(targets, first)])
            changed = {**record(targets, second, proxyprotocol=True), "public_interface": True}
            await balancing.serve([changed])
            await until(lambda: balancing.health(TARGETS[0], check) == "healthy")
            assert BALANCER in await asked(second, OTHER)
            assert any(line.startswith(b"PROXY TCP4 127.0.0.1 127.0.77.2 ") for one in targets for line in one.heard)
            with pytest.raises(ConnectionRefusedError):
                await asked(first)
            await balancing.serve([])
            with pytest.raises(ConnectionRefusedError):
                await asked(second)
            assert balancing.health(TARGETS[0], check) == "unknown"

    asyncio.run(story())


def test_a_check_over_http_wants_its_status() -> None:
    http = {"domain": None, "path": "/healthz", "response": "", "status_codes": ["2??"], "tls": False}

    async def story() -> None:
        async with balanced() as (balancing, targets):
            targets[1].status = 503
            port, check = free_port(), targets[0].port
            asking = {**CHECK, "protocol": "http", "port": check, "http": http}
            await balancing.serve([record(targets, port, health_check=asking)])
            await until(lambda: [balancing.health(one, check) for one in TARGETS] == ["healthy", "unhealthy"])
            assert await asked(port) == f"{TARGETS[0]} {BALANCER}"
            assert b"GET /healthz HTTP/1.0\r\n" in targets[0].heard

    asyncio.run(story())


def test_a_port_that_somebody_has_is_told() -> None:
    async def story() -> None:
        async with balanced() as (balancing, targets):
            with socket.create_server((BALANCER, 0)) as taken, pytest.raises(LabError, match="cannot balance at 127"):
                await balancing.serve([record(targets, taken.getsockname()[1])])

    asyncio.run(story())


def test_servers_reach_what_is_balanced_and_nothing_else_of_this_machine() -> None:
    text = filtering.ruleset(lab_from({}), [], [("10.77.0.9", 443)])
    assert 'iifname "ub-lab0" ip daddr 10.77.0.9 tcp dport 443 meta mark set 0x75620001' in text
    accepted = text.partition("chain input")[2].partition("reject")[0]
    assert "ip daddr 10.77.0.9 tcp dport 443 accept" in accepted
