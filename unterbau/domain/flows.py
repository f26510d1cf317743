"""Which new connections a node accepts, worked out from the flows that are declared for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Network
from typing import NamedTuple, Protocol


class FlowLike(Protocol):
    """What a flow must have; `unterbau.declaration.Flow` does."""

    @property
    def source(self) -> str:
        """A group's name, or a CIDR."""

    @property
    def target(self) -> str:
        """A group's name."""

    @property
    def protocol(self) -> str:
        """Either tcp or udp."""

    @property
    def ports(self) -> tuple[int | str, ...]:
        """Of the form 22 or "30000-32767"."""


class Accept(NamedTuple):
    """One rule of a node's firewall: nothing in `sources` or `ports` overlaps, so both can be nftables sets."""

    sources: tuple[str, ...]
    protocol: str
    ports: tuple[str, ...]


Range = tuple[int, int]


class Also(NamedTuple):
    """A flow that another one implies."""

    source: str
    target: str
    protocol: str
    ports: tuple[int | str, ...]


def counted_in(
    name: str, groups: Collection[str], ways: Collection[tuple[str, int]], flows: Iterable[FlowLike]
) -> list[FlowLike]:
    """What the flows let nodes of `name` do that count as nodes of each of `groups`, for these ways: (protocol, port).

    `name` is a group of `accepts` too. What is not of these ways the flows do not let them do.
    """
    found: list[FlowLike] = []
    for flow in flows:
        ports = tuple(port for port in flow.ports if any(_on_way(port, flow.protocol, way) for way in ways))
        sources, targets = ([one, name] if one in groups else [one] for one in (flow.source, flow.target))
        pairs = [(source, target) for source in sources for target in targets][1:]  # the first is the flow itself
        found += [Also(source, target, flow.protocol, ports) for source, target in pairs if ports]
    return found


def _on_way(port: int | str, protocol: str, way: tuple[str, int]) -> bool:
    first, last = port_range(port)
    return protocol == way[0] and first <= way[1] <= last


def accepts(flows: Iterable[FlowLike], groups: Mapping[str, Collection[str]], address: str) -> list[Accept]:
    """What the node with this address accepts, sorted; the order and repetition of flows make no difference.

    `groups`: name -> addresses or CIDRs ("10.77.0.11", "10.77.0.0/24"), with "all" and "controllers" among them.
    ValueError for a flow whose group is not there.
    """
    allowed: dict[tuple[str, IPv4Network], set[Range]] = defaultdict(set)
    for flow in flows:
        if address in _members(flow.target, groups):
            for source in _sources(flow.source, groups):
                allowed[flow.protocol, source].update(port_range(port) for port in flow.ports)
    return _together(allowed)


def port_range(port: int | str) -> Range:
    """(22, 22) for 22; (30000, 32767) for "30000-32767"."""
    first, _, last = str(port).partition("-")
    return int(first), int(last or first)


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Ranges that overlap become one; neighbours stay apart, as they were written."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return tuple(result)


def _members(group: str, groups: Mapping[str, Collection[str]]) -> Collection[str]:
    if group not in groups:
        raise ValueError(f"cannot resolve the group {group}: there are {', '.join(sorted(groups))}; correct the flow")
    return groups[group]


def _sources(source: str, groups: Mapping[str, Collection[str]]) -> list[IPv4Network]:
    members = [source] if source[:1].isdigit() else _members(source, groups)
    return [IPv4Network(member) for member in members]


def _together(allowed: Mapping[tuple[str, IPv4Network], set[Range]]) -> list[Accept]:
    """Sources with the same ports share a rule."""
    sources: dict[tuple[str, tuple[Range, ...]], list[IPv4Network]] = defaultdict(list)
    for (protocol, source), ranges in allowed.items():
        sources[protocol, merged(ranges)].append(source)
    rules = [(protocol, ranges, _widest(nets)) for (protocol, ranges), nets in sources.items()]
    return [
        Accept(tuple(map(_written, nets)), protocol, tuple(f"{a}-{b}" if a != b else str(a) for a, b in ranges))
        for protocol, ranges, nets in sorted(rules)
    ]


def _widest(networks: Collection[IPv4Network]) -> list[IPv4Network]:
    """Without those that lie inside another one of them."""
    return sorted(net for net in networks if not any(net != other and net.subnet_of(other) for other in networks))


def _written(network: IPv4Network) -> str:
    return str(network.network_address) if network.prefixlen == 32 else str(network)
