"""Who may reach which port. The rest is dropped, but for ICMP between nodes, which the firewall always accepts."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from unterbau.declaration.base import Declaration
from unterbau.declaration.fields import Group, Ports, Slug, Some, cidr, matching, port_bounds

CONTROLLERS, PODS = "controllers", "pods"
_GROUP = r"[a-z][a-z0-9_-]*"


def _source(value: object) -> object:
    if isinstance(value, IPv4Network):
        return str(value)
    return str(cidr(value)) if isinstance(value, str) and value[:1].isdigit() else value


def _apart(ports: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Ports of one flow do not overlap: one of the two is a mistake."""
    ordered = sorted(ports, key=port_bounds)
    for one, other in pairwise(ordered):
        if port_bounds(other)[0] <= port_bounds(one)[1]:
            raise ValueError(f"ports that do not overlap ({one} and {other} do)")
    return ports


Source = Annotated[
    str,
    matching(rf"{_GROUP}|[0-9./]+", 'a group of the inventory, "controllers", "pods", or a CIDR such as 10.0.0.0/24'),
    BeforeValidator(_source),
]
Transport = Literal["tcp", "udp"]
PortList = Annotated[Some[Ports], AfterValidator(_apart)]


class Flow(Declaration):
    """From `source` to the nodes of the group `target`, new connections on `ports` are accepted."""

    name: Slug = Field(description="shown in the firewall's rules and in the plan; unique")
    source: Source = Field(
        description='a group, "controllers" (network.controllers), "pods" (k3s.cluster_cidr), or a CIDR'
    )
    target: Group = Field(description="a group; `all` is every node")
    protocol: Transport = Field(description='"tcp" or "udp"')
    ports: PortList = Field(description='22, or a range as text, "30000-32767"; without overlap')


def is_flows(name: str) -> bool:
    """Whether a data name holds flows: `flows`, or `flows_` and the layer they belong to."""
    return name == "flows" or name.startswith("flows_")


def flows_of(host_data: Any) -> tuple[Flow, ...]:
    """All flows of a host's data, by name: pyinfra replaces a name's value but keeps other names, so layers add theirs.

    `host_data` is pyinfra's `host.data` or a mapping.
    """
    data: Mapping[str, Any] = host_data if isinstance(host_data, Mapping) else host_data.dict()
    flows = {id(flow): flow for name in sorted(data) if is_flows(name) for flow in data[name]}
    return tuple(sorted(flows.values(), key=lambda flow: str(flow.name)))
