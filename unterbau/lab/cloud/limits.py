"""How much one project may have. A lab may be given less, so that a test reaches the end of it."""

from __future__ import annotations

from dataclasses import dataclass

from unterbau.lab.cloud.answer import ApiError

PER_GROUP = 10  # servers of a placement group of type spread
NETWORKS_A_SERVER = 3
VOLUMES_A_SERVER = 16
FIREWALLS_A_SERVER = 5
ATTACHMENTS = 100  # servers and load balancers of a network
SUBNETS = 50
ROUTES = 100
RULES = 50  # of a firewall
EFFECTIVE_RULES = 500  # of a firewall: a rule counts once for each of its ranges
USER_DATA_BYTES = 32 * 1024
VOLUME_GB = (10, 10240)
REQUESTS_AN_HOUR = 3600


@dataclass(frozen=True)
class Limits:
    """The most of each kind that a project holds."""

    servers: int = 200
    networks: int = 50
    placement_groups: int = 50
    firewalls: int = 50
    load_balancers: int = 50
    volumes: int = 200
    primary_ips: int = 400
    floating_ips: int = 50
    ssh_keys: int = 1000
    requests_an_hour: int = REQUESTS_AN_HOUR

    def check(self, kind: str, count: int) -> None:
        """Refuse one more than the limit, by name."""
        most: int = getattr(self, kind)
        if count > most:
            raise ApiError(
                "resource_limit_exceeded", f"{kind.removesuffix('s')} limit exceeded: {most} in this project"
            )
