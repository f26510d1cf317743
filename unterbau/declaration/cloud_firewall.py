"""Firewalls of a cloud project: what reaches the public addresses of its servers. Load balancers have none."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.cloud_names import AnyCidrs, CloudLabels, CloudName, CloudNames, is_world, sound
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import Many, matching, port_bounds, port_range, repeated
from unterbau.domain.cloud_quota import CIDRS_A_RULE, EFFECTIVE_RULES, RULES

SSH, API = 22, 6443
NODE_PORTS = (30000, 32767)  # Source: kube-apiserver, --service-node-port-range
WIREGUARD = (51820, 51871)  # Source: flannel and Cilium; WireGuard is UDP only


def _ports(value: object) -> object:
    """A port, or a range of them as text; "" for protocols that have none. A single one becomes a number."""
    if value == "":
        return value
    return int(value) if isinstance(value, str) and value.isdigit() and port_range(int(value)) else port_range(value)


Direction = Literal["in", "out"]
FirewallProtocol = Literal["tcp", "udp", "icmp", "esp", "gre"]
RulePorts = Annotated[int | str, BeforeValidator(_ports)]
Description = Annotated[str, matching(r"[^\x00-\x1f\x7f]{0,255}", "one line of text, 255 characters at most")]


class FirewallRule(Declaration):
    """What is let through. Of the other things in its direction nothing is."""

    direction: Direction = Field("in", description='"in", or "out": with one such rule nothing else goes out any more')
    protocol: FirewallProtocol = Field(description='"tcp", "udp", "icmp", "esp" or "gre"')
    ports: RulePorts = Field("", description='22, or a range as text, "8000-8010"; of tcp and udp only')
    sources: AnyCidrs = Field((), description="CIDRs, IPv4 or IPv6, that may come in; 100 at most")
    destinations: AnyCidrs = Field((), description="CIDRs that may be reached, of a rule for what goes out")
    description: Description = Field("", description="what it is for, shown by the console")
    world: bool = Field(default=False, description="allow 0.0.0.0/0 and ::/0 among the sources")

    @model_validator(mode="after")
    def _makes_sense(self) -> FirewallRule:
        self._has_ports()
        self._has_ends()
        if self.direction == "in":
            self._opens_little()
        return self

    def _has_ports(self) -> None:
        if (self.protocol in ("tcp", "udp")) != (self.ports != ""):
            found = f"none with {self.protocol}" if self.ports == "" else f"{self.ports} with {self.protocol}"
            raise rule("ports", found, "a port or a range of tcp and udp, and none of the other protocols")
        if self.protocol == "tcp" and self.ports in WIREGUARD:
            raise rule("protocol", f"'tcp' with {self.ports}", '"udp": that port is WireGuard\'s')

    def _has_ends(self) -> None:
        """Source: Hetzner Cloud API, `rule`: sources of what comes in, destinations of what goes out, 100 at most."""
        own, other = ("sources", "destinations") if self.direction == "in" else ("destinations", "sources")
        if getattr(self, other):
            raise rule(other, f"some in a rule for {self.direction!r}", f"none: such a rule has {own}")
        cidrs = getattr(self, own)
        if not cidrs:
            raise rule(own, "none", "one CIDR or more: what a rule is for is never left open")
        if len(cidrs) > CIDRS_A_RULE:
            raise rule(own, f"{len(cidrs)} CIDRs", f"at most {CIDRS_A_RULE} a rule")

    def _opens_little(self) -> None:
        wide = [str(source) for source in self.sources if is_world(source)]
        if wide and not self.world:
            raise rule("sources", f"{wide[0]} without world=True", "the ranges that need it, or world=True as well")
        if self.world and not wide:
            raise rule("world", "True without a source for it", "0.0.0.0/0 or ::/0 in sources, or world=False")
        for port in (SSH, API) if wide and self.protocol == "tcp" else ():
            if self.covers(port, port):
                found = f"{wide[0]} to port {port}"
                raise rule("sources", found, "ranges of your own: SSH and the cluster's API are never the world's")
        if self.protocol in ("tcp", "udp") and self.covers(*NODE_PORTS):
            found = f"{self.ports}, with ports of {NODE_PORTS[0]} to {NODE_PORTS[1]} among them"
            raise rule("ports", found, "ports below or above: NodePorts are not opened, a load balancer is")

    def covers(self, first: int, last: int) -> bool:
        """Whether it lets one of these ports through."""
        low, high = port_bounds(self.ports)
        return low <= last and first <= high

    @property
    def effective(self) -> int:
        """How many rules it counts as: one a CIDR."""
        return len(self.sources) + len(self.destinations)

    @property
    def written_ports(self) -> str | None:
        """The ports as the API writes them: "22", "8000-8010"; None for protocols that have none."""
        return str(self.ports) or None


FirewallRules = Many[Annotated[FirewallRule, made_of(FirewallRule)]]


class CloudFirewall(Declaration):
    """What reaches the public addresses of these pools' servers; what no rule lets in is dropped."""

    name: CloudName = Field(description="unique")
    rules: FirewallRules = Field((), description="FirewallRule(…), …; 50 at most")
    pools: CloudNames = Field((), description="names of the NodePools that it is for")
    denies_egress: bool = Field(
        default=False, description='say that nothing goes out but what rules for "out" let; needed with such a rule'
    )
    labels: CloudLabels = Field(default_factory=dict, description="labels besides the platform's own")

    @model_validator(mode="after")
    def _within_limits(self) -> CloudFirewall:
        """Source: Hetzner Cloud API, `create_firewall`: 50 rules; "Firewalls" FAQ: 500 effective rules a firewall."""
        effective = [one.effective for one in sound(self.rules)]
        if len(self.rules) > RULES:
            raise rule("rules", f"{len(self.rules)} rules", f"at most {RULES} a firewall")
        if sum(effective) > EFFECTIVE_RULES:
            found = f"{len(self.rules)} rules with {sum(effective)} CIDRs in all"
            raise rule("rules", found, f"at most {EFFECTIVE_RULES} CIDRs in the rules of a firewall")
        if repeated(sound(self.rules)):
            raise rule("rules", "a rule twice", "each rule once")
        return self

    @model_validator(mode="after")
    def _egress_said(self) -> CloudFirewall:
        """Source: Hetzner Cloud, "Firewalls" FAQ: with one outbound rule all other outbound traffic is dropped."""
        goes_out = any(one.direction == "out" for one in self.rules)
        if goes_out != self.denies_egress:
            found = 'a rule for "out" without it' if goes_out else 'True without a rule for "out"'
            raise rule("denies_egress", found, 'True with rules for "out": one of them denies all else that goes out')
        return self
