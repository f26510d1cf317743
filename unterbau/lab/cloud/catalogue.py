"""What the lab's cloud sells and where: locations, types, images, prices.

Names, sizes and shapes are those of Hetzner's own catalogue, as far as the lab needs it. The prices are the lab's: of
the same order, but nobody's offer.
"""

from __future__ import annotations

from decimal import Decimal

from unterbau.lab.cloud.answer import Record

VAT_PERCENT = 19
CURRENCY = "EUR"
CREATED = "2026-01-01T00:00:00Z"

# name: (id, city, country, network zone, latitude, longitude)
_PLACES = {
    "fsn1": (1, "Falkenstein", "DE", "eu-central", 50.47612, 12.370071),
    "nbg1": (2, "Nuremberg", "DE", "eu-central", 49.452102, 11.076665),
    "hel1": (3, "Helsinki", "FI", "eu-central", 60.169855, 24.938379),
    "ash": (4, "Ashburn, VA", "US", "us-east", 39.045821, -77.487073),
    "hil": (5, "Hillsboro, OR", "US", "us-west", 45.54222, -122.951924),
    "sin": (6, "Singapore", "SG", "ap-southeast", 1.283333, 103.833333),
}
_EUROPE = ("fsn1", "nbg1", "hel1")
_EVERYWHERE = tuple(_PLACES)

# name: (id, cores, memory GB, disk GB, kind of core, architecture, net EUR a month, locations)
_SERVER_TYPES: dict[str, tuple[int, int, float, int, str, str, str, tuple[str, ...]]] = {
    "cx22": (104, 2, 4.0, 40, "shared", "x86", "3.79", _EUROPE),
    "cx32": (105, 4, 8.0, 80, "shared", "x86", "6.80", _EUROPE),
    "cx42": (106, 8, 16.0, 160, "shared", "x86", "16.40", _EUROPE),
    "cx52": (107, 16, 32.0, 320, "shared", "x86", "32.40", _EUROPE),
    "cpx11": (22, 2, 2.0, 40, "shared", "x86", "4.35", _EVERYWHERE),
    "cpx21": (23, 3, 4.0, 80, "shared", "x86", "7.55", _EVERYWHERE),
    "cpx31": (24, 4, 8.0, 160, "shared", "x86", "13.60", _EVERYWHERE),
    "cpx41": (25, 8, 16.0, 240, "shared", "x86", "25.20", _EVERYWHERE),
    "cax11": (45, 2, 4.0, 40, "shared", "arm", "3.79", _EUROPE),
    "cax21": (93, 4, 8.0, 80, "shared", "arm", "6.49", _EUROPE),
    "ccx13": (96, 2, 8.0, 80, "dedicated", "x86", "12.49", _EVERYWHERE),
    "ccx23": (97, 4, 16.0, 160, "dedicated", "x86", "24.49", _EVERYWHERE),
    "cx11": (1, 1, 2.0, 20, "shared", "x86", "3.29", _EUROPE),
}
# Servers of such a type go on; new ones are not sold once `unavailable_after` has passed.
_DEPRECATED = {"cx11": {"announced": "2024-06-06T00:00:00Z", "unavailable_after": "2024-09-06T00:00:00Z"}}

# name: (id, connections, services, targets, net EUR a month)
_LOAD_BALANCER_TYPES = {
    "lb11": (1, 10000, 5, 25, "5.39"),
    "lb21": (2, 20000, 15, 75, "16.40"),
    "lb31": (3, 40000, 30, 150, "32.90"),
}
# name: (version, id for x86, id for arm)
_IMAGES = {"debian-12": ("12", 114690387, 114690389), "debian-13": ("13", 310557660, 310557661)}

_IP_MONTHLY = {"ipv4": "0.50", "ipv6": "0.00"}
_FLOATING_MONTHLY = {"ipv4": "3.00", "ipv6": "1.00"}
_VOLUME_GB_MONTHLY = "0.0440"
_IMAGE_GB_MONTHLY = "0.0110"
_HOURS_A_MONTH = 730
_INCLUDED_BYTES = 20 * 1000**4


def price(net: str | Decimal) -> Record:
    """{net, gross}: decimals as text, in EUR."""
    amount = Decimal(net)
    return {"net": f"{amount:.10f}", "gross": f"{amount * (100 + VAT_PERCENT) / 100:.10f}"}


def _prices(monthly: str, places: tuple[str, ...]) -> list[Record]:
    hourly = Decimal(monthly) / _HOURS_A_MONTH
    per_tb = price("1.00")
    return [
        {"location": place, "price_hourly": price(hourly), "price_monthly": price(monthly),
         "included_traffic": _INCLUDED_BYTES, "price_per_tb_traffic": per_tb}
        for place in places
    ]  # fmt: skip


def _location(name: str) -> Record:
    number, city, country, zone, latitude, longitude = _PLACES[name]
    return {
        "id": number, "name": name, "description": f"{city} ({name})", "country": country, "city": city,
        "latitude": latitude, "longitude": longitude, "network_zone": zone,
    }  # fmt: skip


def _server_type(name: str) -> Record:
    number, cores, memory, disk, cpu, architecture, monthly, places = _SERVER_TYPES[name]
    end = _DEPRECATED.get(name)
    offers = [
        {"id": _PLACES[place][0], "name": place, "deprecation": end, "available": end is None,
         "recommended": end is None}
        for place in places
    ]  # fmt: skip
    return {
        "id": number, "name": name, "description": name.upper(), "category": f"{cpu} {architecture}", "cores": cores,
        "memory": memory, "disk": disk, "cpu_type": cpu, "architecture": architecture, "storage_type": "local",
        "deprecated": end is not None, "deprecation": end, "prices": _prices(monthly, places), "locations": offers,
    }  # fmt: skip


def _load_balancer_type(name: str) -> Record:
    number, connections, services, targets, monthly = _LOAD_BALANCER_TYPES[name]
    return {
        "id": number, "name": name, "description": name.upper(), "max_connections": connections,
        "max_services": services, "max_targets": targets, "max_assigned_certificates": 10, "deprecated": None,
        "deprecation": None,
        "prices": _prices(monthly, _EVERYWHERE),
    }  # fmt: skip


def _image(name: str, number: int, version: str, architecture: str) -> Record:
    flavour = name.partition("-")[0]
    return {
        "id": number, "name": name, "description": f"{flavour.capitalize()} {version}", "type": "system",
        "status": "available", "architecture": architecture, "os_flavor": flavour, "os_version": version,
        "disk_size": 5, "image_size": None, "created": CREATED, "created_from": None, "bound_to": None,
        "rapid_deploy": True, "protection": {"delete": False}, "labels": {}, "deprecated": None, "deleted": None,
    }  # fmt: skip


def _images() -> list[Record]:
    return [
        _image(name, number, version, architecture)
        for name, (version, *numbers) in _IMAGES.items()
        for number, architecture in zip(numbers, ("x86", "arm"), strict=True)
    ]


TABLES: dict[str, list[Record]] = {
    "locations": [_location(name) for name in _PLACES],
    "server_types": [_server_type(name) for name in _SERVER_TYPES],
    "load_balancer_types": [_load_balancer_type(name) for name in _LOAD_BALANCER_TYPES],
    "images": _images(),
    "isos": [],
    "certificates": [],
}


def pricing() -> Record:
    """The whole price list, in the shape of GET /pricing."""
    types = ("server_types", "load_balancer_types")
    listed = {kind: [{name: one[name] for name in ("id", "name", "prices")} for one in TABLES[kind]] for kind in types}
    return {
        "currency": CURRENCY, "vat_rate": f"{VAT_PERCENT:.6f}", **listed,
        "image": {"price_per_gb_month": price(_IMAGE_GB_MONTHLY)},
        "volume": {"price_per_gb_month": price(_VOLUME_GB_MONTHLY)},
        "server_backup": {"percentage": "20.0000000000"},
        "floating_ip": {"price_monthly": price(_FLOATING_MONTHLY["ipv4"])},
        "floating_ips": [{"type": kind, "prices": _ip_prices(net, False)} for kind, net in _FLOATING_MONTHLY.items()],
        "primary_ips": [{"type": kind, "prices": _ip_prices(net, True)} for kind, net in _IP_MONTHLY.items()],
    }  # fmt: skip


def _ip_prices(monthly: str, hourly: bool) -> list[Record]:
    by_the_hour = {"price_hourly": price(Decimal(monthly) / _HOURS_A_MONTH)} if hourly else {}
    return [{"location": place, **by_the_hour, "price_monthly": price(monthly)} for place in _EVERYWHERE]
