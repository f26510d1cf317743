"""Packets leave in order, each after its delay; messages are what the kernel reads and writes."""

from __future__ import annotations

import struct

import pytest

from unterbau.lab.delayer import Line, configuration, message, packet_ids, verdict


def test_packets_leave_when_they_are_due() -> None:
    line = Line(delay_s=0.05)
    assert line.wait_s(now=0.0) is None
    line.enter(1, now=1.00)
    line.enter(2, now=1.01)
    line.enter(3, now=1.04)
    assert line.leave(now=1.049) is None
    assert line.wait_s(now=1.02) == pytest.approx(0.03)
    assert line.leave(now=1.0601) == 2
    assert line.wait_s(now=2.0) == 0.0
    assert line.leave(now=2.0) == 3
    assert line.leave(now=3.0) is None


def packet(number: int) -> bytes:
    # nfgenmsg, then a timestamp attribute before the header, as a kernel may send.
    body = struct.pack(">BBH", 2, 0, 7) + struct.pack("=HH8x", 12, 3) + struct.pack("=HH", 11, 1)
    body += struct.pack(">IHB", number, 0x0800, 0) + b"\0"
    return struct.pack("=IHHII", 16 + len(body), 3 << 8, 0, 0, 0) + body


def test_ids_are_found_in_several_messages() -> None:
    assert list(packet_ids(packet(41) + packet(42))) == [41, 42]
    assert list(packet_ids(b"")) == []


def test_an_acknowledgement_is_no_error_and_a_refusal_is_one() -> None:
    def error(code: int) -> bytes:
        return struct.pack("=IHHII", 36, 2, 0, 0, 0) + struct.pack("=i16x", code)

    assert list(packet_ids(error(0) + packet(1))) == [1]
    with pytest.raises(OSError, match="refused") as refused:
        list(packet_ids(error(-16)))
    assert refused.value.errno == 16


def test_messages_have_the_kernels_layout() -> None:
    # nlmsghdr: length, type (subsystem 3), flags, sequence, port; nfgenmsg: family, version, queue in network order.
    sent = verdict(7, last=258)
    assert sent == struct.pack("=IHHII", 32, 0x0303, 1, 0, 0) + b"\0\0\0\x07" + b"\x0c\0\x02\0" + b"\0\0\0\1\0\0\1\2"
    assert all(len(part) % 4 == 0 for part in configuration(7))
    assert message(2, 5, 7, b"")[:4] == struct.pack("=I", 20)
