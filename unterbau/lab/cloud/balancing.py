"""Load balancers that balance: connections are passed on to targets which a health check found healthy.

HTTP services are passed on as they are, too: cookies and redirects are not made. Their addresses are on the lab's
bridge, so a server that asks one meets this process.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.health import Check, found_by
from unterbau.lab.cloud.machines import Health
from unterbau.lab.command import run
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab

Front = tuple[str, int]  # address and port that are listened on
_CONNECTS_WITHIN_S = 5
_PIECE_BYTES = 1 << 16


def folder(lab: Lab) -> Path:
    """Where load balancers are kept, one file each."""
    return lab.cloud / "balancers"


def kept(lab: Lab) -> list[Record]:
    """Every load balancer, as it was told last."""
    return [json.loads(file.read_text()) for file in sorted(folder(lab).glob("*.json"))]


def keep(lab: Lab, record: Record) -> None:
    """Keep one."""
    folder(lab).mkdir(mode=0o700, exist_ok=True)
    file = folder(lab) / f"{record['id']}.json"
    part = file.with_suffix(".part")
    part.write_text(json.dumps(record))
    part.replace(file)


def addresses(record: Record) -> list[str]:
    """Where a load balancer is asked: in its network, and in public unless that is switched off."""
    return [*(net["ip"] for net in record["private_net"]), *([record["ipv4"]] if record["public_interface"] else [])]


def fronts(record: Record) -> dict[Front, Record]:
    """The service behind each address and port of a load balancer."""
    return {(ip, one["listen_port"]): one for one in record["services"] for ip in addresses(record)}


def unplace(lab: Lab) -> None:
    """Take the addresses of load balancers away; no error if there is nothing to take them from."""
    if Path("/sys/class/net", lab.bridge).exists():
        _place(lab, set())


def _place(lab: Lab, wanted: set[str]) -> None:
    links = json.loads(run("ip", "-j", "-4", "address", "show", "dev", lab.bridge))
    there = {one["local"] for link in links for one in link.get("addr_info", ()) if one["prefixlen"] == 32}
    for verb, changed in (("add", wanted - there), ("delete", there - wanted)):
        for ip in changed:
            run("ip", "address", verb, f"{ip}/32", "dev", lab.bridge)


class Balancing:
    """The balancing itself, within an event loop."""

    def __init__(self) -> None:
        self._told: dict[Front, tuple[Record, Record]] = {}  # front -> load balancer, service
        self._servers: dict[Front, asyncio.Server] = {}
        self._checks: dict[Check, asyncio.Task[None]] = {}
        self._healths: dict[tuple[str, int], Health] = {}
        self._open: Counter[str] = Counter()
        self._turn = 0

    def health(self, address: str, port: int) -> Health:
        """What the last check of that port found."""
        return self._healths.get((address, port), "unknown")

    async def serve(self, records: list[Record]) -> None:
        """Serve as these load balancers say, whatever was served before. LabError if a port cannot be had."""
        self._told = {front: (one, service) for one in records for front, service in fronts(one).items()}
        for front in self._servers.keys() - self._told.keys():
            self._servers.pop(front).close()
        for front in self._told.keys() - self._servers.keys():
            self._servers[front] = await self._listen(front)
        self._check({Check.of(ip, service) for one in records for service in one["services"] for ip in one["backends"]})

    def _check(self, wanted: set[Check]) -> None:
        for check in self._checks.keys() - wanted:
            self._checks.pop(check).cancel()
            self._healths.pop((check.address, check.port), None)
        for check in wanted - self._checks.keys():
            self._checks[check] = asyncio.ensure_future(self._watch(check))

    async def _listen(self, front: Front) -> asyncio.Server:
        async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self._pass(front, reader, writer)
            except OSError:
                pass  # one of the two has gone
            finally:
                writer.close()

        try:
            return await asyncio.start_server(taken, *front)
        except OSError as error:
            raise LabError(
                f"cannot balance at {front[0]} port {front[1]}: {error}; see who has it with `ss -ltnp`"
            ) from error

    async def _watch(self, check: Check) -> None:
        failures = 0
        while True:
            good = await found_by(check)
            failures = 0 if good else failures + 1
            if good or failures > check.retries or (check.address, check.port) not in self._healths:
                self._healths[check.address, check.port] = "healthy" if good else "unhealthy"
            await asyncio.sleep(check.interval)

    async def _pass(self, front: Front, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if front not in self._told:
            return
        record, service = self._told[front]
        for backend in self._in_turn(record, service):
            with suppress(OSError, TimeoutError):
                connecting = asyncio.open_connection(
                    backend, service["destination_port"], local_addr=(self._source(record, backend), 0)
                )
                target = await asyncio.wait_for(connecting, _CONNECTS_WITHIN_S)
                if service["proxyprotocol"]:
                    target[1].write(_proxy_line(writer))
                self._open[backend] += 1
                try:
                    await asyncio.gather(_copy(reader, target[1]), _copy(target[0], writer))
                finally:
                    self._open[backend] -= 1
                    target[1].close()
                return

    def _in_turn(self, record: Record, service: Record) -> list[str]:
        port = service["health_check"]["port"]
        healthy = [one for one in record["backends"] if self.health(one, port) == "healthy"]
        if record["algorithm"]["type"] == "least_connections":
            return sorted(healthy, key=lambda one: self._open[one])
        self._turn += 1
        first = self._turn % len(healthy) if healthy else 0
        return healthy[first:] + healthy[:first]

    @staticmethod
    def _source(record: Record, backend: str) -> str:
        """A target in a network sees the load balancer's address there, another one its public address."""
        private = [net["ip"] for net in record["private_net"]]
        return private[0] if private and not backend.startswith("198.") else str(record["ipv4"])


class Balancers:
    """All load balancers of a lab, in a thread of their own."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._balancing = Balancing()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def refresh(self) -> None:
        """Serve as what is kept says. LabError if an address or a port cannot be had."""
        records = kept(self._lab)
        _place(self._lab, {ip for one in records for ip in addresses(one)})
        asyncio.run_coroutine_threadsafe(self._balancing.serve(records), self._loop).result()

    def health(self, address: str, port: int) -> Health:
        """What the last check of that port found."""
        return self._balancing.health(address, port)


def _proxy_line(client: asyncio.StreamWriter) -> bytes:
    """Source: HAProxy, "The PROXY protocol", version 1."""
    (source, port), (here, own) = client.get_extra_info("peername")[:2], client.get_extra_info("sockname")[:2]
    return f"PROXY TCP4 {source} {here} {port} {own}\r\n".encode()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()
