"""What every node's operating system is set to: time, kernel, journal, security upgrades."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from unterbau.declaration.base import Declaration
from unterbau.declaration.explain import near, rule
from unterbau.declaration.fields import ClockTime, DomainName, Group, Many, different, matching

_SYSCTL = re.compile(r"([a-z]+)([./][A-Za-z0-9_:@-]+)+")
_SYSCTL_TREES = ("abi", "crypto", "debug", "dev", "fs", "kernel", "net", "sunrpc", "user", "vm")


def sysctl_name(text: str) -> str:
    """A dotted name under one of the kernel's trees. Source: Linux Documentation/admin-guide/sysctl."""
    if "*" in text:
        raise ValueError("one name without '*', which the running kernel has no value for: net.ipv4.conf.all.rp_filter")
    parts = _SYSCTL.fullmatch(text)
    if not parts or parts[1] not in _SYSCTL_TREES:
        known = ", ".join(_SYSCTL_TREES)
        raise ValueError(f"a name such as net.ipv4.ip_forward, beginning with one of {known}{_near_tree(text)}")
    return text


def _near_tree(text: str) -> str:
    return near(re.split(r"[./]", text)[0], _SYSCTL_TREES)


def sysctl_value(value: object) -> object:
    """A whole number, or one line of text (True and 1.5 are neither)."""
    number = isinstance(value, int) and not isinstance(value, bool)
    line = isinstance(value, str) and value.strip() == value != "" and value.isprintable()
    if not number and not line:
        raise ValueError("a whole number, or one line of text without blanks around it")
    return value


SysctlName = Annotated[str, AfterValidator(sysctl_name)]
SysctlValue = Annotated[int | str, BeforeValidator(sysctl_value)]
ModuleName = Annotated[str, matching(r"[a-z0-9][a-z0-9_-]*", "a kernel module's name such as br_netfilter")]
Modules = Annotated[Many[ModuleName], AfterValidator(different)]


class Kernel(Declaration):
    """Modules to load and values to set; both hold now and after a boot."""

    modules: Modules = Field((), description="kernel modules, loaded now and at boot")
    sysctl: dict[SysctlName, SysctlValue] = Field(default_factory=dict, description="name -> number or text")

    @model_validator(mode="after")
    def _bridge_needs_its_module(self) -> Kernel:
        """net.bridge.* exists only while br_netfilter is loaded. Source: Linux net/bridge/br_netfilter_hooks.c."""
        bridge = [name for name in self.sysctl if name.startswith(("net.bridge.", "net/bridge/"))]
        if bridge and "br_netfilter" not in self.modules:
            allowed = f'"br_netfilter" among the modules, for {bridge[0]} exists only with it'
            raise rule("modules", ", ".join(self.modules) or "none", allowed)
        return self


def is_kernel(name: str) -> bool:
    """Whether a data name holds a Kernel: `kernel`, or `kernel_` and what it is for."""
    return name == "kernel" or name.startswith("kernel_")


def kernel_of(host_data: Any) -> Kernel:
    """All of a host's kernel values as one, by name, so that an environment replaces only what differs.

    `host_data` is pyinfra's `host.data` or a mapping.
    """
    data: Mapping[str, Any] = host_data if isinstance(host_data, Mapping) else host_data.dict()
    parts: list[Kernel] = [data[name] for name in sorted(data) if is_kernel(name)]
    return Kernel(
        modules=tuple(dict.fromkeys(module for part in parts for module in part.modules)),
        sysctl={key: value for part in parts for key, value in part.sysctl.items()},
    )


class TimeSync(Declaration):
    """Where nodes get their time. Certificates, etcd leases and object signatures fail on clocks that differ."""

    servers: Many[DomainName] = Field((), description="NTP servers outside, names or addresses; () if there are none")
    island: Group | None = Field(None, description="a group that keeps a common time by itself when nothing is outside")
    control_clock: bool = Field(True, description="False in machines that share their host's clock (chronyd -x)")

    @model_validator(mode="after")
    def _has_a_source(self) -> TimeSync:
        if not self.servers and self.island is None:
            raise rule("servers", "none, and no island", "one NTP server or more, or an island group that keeps time")
        return self


class SecurityUpgrades(Declaration):
    """Unattended security upgrades; a reboot they need happens in the node's own slot of the window."""

    reboot_window_start: ClockTime = Field("02:00", description="HH:MM in UTC")
    reboot_window_minutes: int = Field(120, ge=1, le=1439, description="length of the window")
    slot_minutes: int = Field(20, ge=5, le=720, description="what one node gets, so that only one is down at a time")


class Journal(Declaration):
    """Limits of journald. What is older or larger is dropped, oldest first."""

    max_use_mib: int = Field(512, ge=16, le=1048576, description="the most that the journal may take")
    keep_free_mib: int = Field(1024, ge=16, le=1048576, description="what it leaves free on its file system")
    max_retention_days: int = Field(30, ge=1, le=3650, description="how long entries are kept")
