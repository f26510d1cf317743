"""Holds packets of one NFQUEUE back for a fixed time: `python delayer.py QUEUE DELAY_MS`. Runs until it is killed.

The kernel keeps the packets; only their ids come here, and one verdict lets every packet go that is due. If this
process ends, the rule's `--queue-bypass` lets packets pass at once. Standard library only: it is started as a file.
Source of the message layout: linux/netfilter/nfnetlink_queue.h.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_SUBSYSTEM = 3 << 8
_PACKET, _CONFIG, _VERDICT_BATCH = 0, 2, 3
_REQUEST, _ACKNOWLEDGE, _ERROR = 1, 4, 2
_BIND, _COPY_META, _ACCEPT = 1, 1, 1
_CFG_CMD, _CFG_PARAMS, _CFG_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_FLAG_GSO = 4  # large segments stay whole
_PACKET_HEADER, _VERDICT_HEADER = 1, 2
_MAXIMUM_PACKETS = 65536
_RECEIVE_BUFFER = 8 * 2**20


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, flags: int, queue: int, attributes: bytes) -> bytes:
    """One message to the queue subsystem."""
    body = struct.pack(">BBH", 0, 0, queue) + attributes
    return struct.pack("=IHHII", 16 + len(body), _SUBSYSTEM | kind, flags, 0, 0) + body


def configuration(queue: int) -> list[bytes]:
    """Messages that bind the queue and ask for packet ids without contents."""
    flags = struct.pack(">I", _FLAG_GSO)
    parts = (
        attribute(_CFG_CMD, struct.pack(">BxH", _BIND, socket.AF_INET)),
        attribute(_CFG_PARAMS, struct.pack(">IB", 0, _COPY_META)),
        attribute(_CFG_MAXLEN, struct.pack(">I", _MAXIMUM_PACKETS)),
        attribute(_CFG_FLAGS, flags) + attribute(_CFG_MASK, flags),
    )
    return [message(_CONFIG, _REQUEST | _ACKNOWLEDGE, queue, part) for part in parts]


def verdict(queue: int, last: int) -> bytes:
    """Let every packet up to the id `last` go."""
    return message(_VERDICT_BATCH, _REQUEST, queue, attribute(_VERDICT_HEADER, struct.pack(">II", _ACCEPT, last)))


def packet_ids(data: bytes) -> Iterator[int]:
    """Packet ids in what was received. Raises OSError for an error that the kernel reports."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if kind == _ERROR:
            code = struct.unpack_from("=i", data, 16)[0]
            if code:
                raise OSError(-code, "the kernel refused the queue")
        elif kind == _SUBSYSTEM | _PACKET:
            yield from _ids(data[20:length])
        data = data[(length + 3) & ~3 :]


def _ids(attributes: bytes) -> Iterator[int]:
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == _PACKET_HEADER:
            yield struct.unpack_from(">I", attributes, 4)[0]
        attributes = attributes[(length + 3) & ~3 :]


class Line:
    """Packets on their way, in order: each leaves delay_s after it came."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._waiting: deque[tuple[float, int]] = deque()

    def enter(self, packet: int, now: float) -> None:
        """A packet arrives."""
        self._waiting.append((now + self._delay_s, packet))

    def leave(self, now: float) -> int | None:
        """The last packet that is due by now; None if none is."""
        last = None
        while self._waiting and self._waiting[0][0] <= now:
            last = self._waiting.popleft()[1]
        return last

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next packet is due; None if none waits."""
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def hold(queue: int, delay_s: float) -> None:
    """Bind the queue and hold its packets back, for ever."""
    line = Line(delay_s)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as link:
        link.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BUFFER)  # SO_RCVBUFFORCE
        link.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        for part in configuration(queue):
            link.send(part)
        while True:
            if select.select([link], [], [], line.wait_s(time.monotonic()))[0]:
                now = time.monotonic()
                for packet in packet_ids(link.recv(2**16)):
                    line.enter(packet, now)
            last = line.leave(time.monotonic())
            if last is not None:
                link.send(verdict(queue, last))


if __name__ == "__main__":
    hold(int(sys.argv[1]), float(sys.argv[2]) / 1000)
