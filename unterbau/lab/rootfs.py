"""The root file system that all machines share: plain Debian, built once, kept in the cache by a hash of its recipe."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from unterbau.lab.cgroup import Group
from unterbau.lab.command import environment, run, succeeds
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab

# Counts up when what is done to the file system after the packages changes.
_VERSION = 2
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Source: Debian policy 5.6.1
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What a cloud's Debian image has as well; the base layer brings the rest.
_PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "ca-certificates", "procps", "kmod", "python3",
)  # fmt: skip
# Debian packages that a lab needs on the machine that carries it, by a file each one has.
_HOST_PACKAGES = {
    "systemd-container": "/usr/bin/systemd-nspawn",
    "mmdebstrap": "/usr/bin/mmdebstrap",
    "xfsprogs": "/usr/sbin/mkfs.xfs",
    "e2fsprogs": "/usr/sbin/mkfs.ext4",
    "nftables": "/usr/sbin/nft",
    "iptables": "/usr/sbin/iptables",
    "iproute2": "/usr/bin/ip",
    "openssh-client": "/usr/bin/ssh",
    "tinyproxy-bin": "/usr/bin/tinyproxy",
    "debian-archive-keyring": _KEYRING,
}


@dataclass(frozen=True)
class Recipe:
    """What decides the content of the root file system; apt_options are the host's own about stale mirrors."""

    suite: str
    sources: tuple[str, ...]
    apt_options: tuple[str, ...]
    packages: tuple[str, ...] = _PACKAGES
    version: int = _VERSION

    @property
    def key(self) -> str:
        """A short name for exactly this recipe."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def sources_list(self) -> str:
        """The file /etc/apt/sources.list of the machines."""
        return "".join(f"{line}\n" for line in self.sources)

    @property
    def mirrors(self) -> tuple[str, ...]:
        """Host names that packages come from."""
        return tuple(sorted({urlsplit(line.split()[2]).hostname or "" for line in self.sources} - {""}))


def recipe_from(index_targets: str, apt_config: str, read: Callable[[Path], str] = Path.read_text) -> Recipe:
    """The recipe that follows the host's apt.

    index_targets: lines `origin|site|release|component|codename|created by`; apt_config: what `apt-config dump` says;
    read: gives the text of a mirror list, as cloud images have (`mirror+file:/etc/apt/mirrors/debian.list`).
    Raises LabError if the host's apt knows no Debian archive.
    """
    rows = [line.split("|") for line in index_targets.splitlines()]
    rows = [row for row in rows if len(row) == 6 and row[0] == "Debian" and row[5] == "Packages"]
    if not rows:
        raise LabError("cannot choose a Debian archive: the host's apt knows none; check its sources, `apt-get update`")
    sites = {row[1]: _site(row[1], read) for row in rows}
    sources = dict.fromkeys(f"deb [signed-by={_KEYRING}] {sites[row[1]]} {row[2]} {row[3]}" for row in rows)
    kept = ("Acquire::Check-Valid-Until ", "Acquire::Check-Date ")
    options = tuple(line for line in apt_config.splitlines() if line.startswith(kept))
    return Recipe(min((row[4] for row in rows), key=len), tuple(sources), options)


def _site(site: str, read: Callable[[Path], str]) -> str:
    # A list of mirrors is a file of the host; the first mirror of it will do.
    scheme, _, path = site.partition(":")
    if scheme != "mirror+file":
        return site
    lines = [line.split()[0] for line in read(Path(path)).splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise LabError(f"cannot choose a Debian archive: the mirror list {path} is empty; name a mirror in it")
    return lines[0]


def hosts_recipe() -> Recipe:
    """The recipe for this host, as its apt is set up now."""
    row = "$(ORIGIN)|$(SITE)|$(RELEASE)|$(COMPONENT)|$(CODENAME)|$(CREATED_BY)"
    asked = ("apt-get", "indextargets", "--format", row)
    targets = run(*asked)
    if "Debian|" not in targets:
        run("apt-get", "update", "-q")
        targets = run(*asked)
    return with_packages(recipe_from(targets, run("apt-config", "dump")), os.environ)


def with_packages(recipe: Recipe, environ: Mapping[str, str]) -> Recipe:
    """With those that UNTERBAU_LAB_PACKAGES names as well, for who makes many machines and is not about installing.

    LabError for what is no package's name.
    """
    names = sorted(set(environ.get("UNTERBAU_LAB_PACKAGES", "").split()) - {*recipe.packages})
    if odd := [name for name in names if not _NAME.fullmatch(name)]:
        raise LabError(f"cannot use UNTERBAU_LAB_PACKAGES: {odd[0]!r} is no package's name; separate names by spaces")
    return replace(recipe, packages=(*recipe.packages, *names))


def missing_packages(present: Callable[[str], bool]) -> list[str]:
    """Debian packages that the host lacks."""
    return [package for package, file in _HOST_PACKAGES.items() if not present(file)]


def install_host_packages(say: Callable[[str], None]) -> None:
    """Install what the host lacks; says what."""
    missing = missing_packages(lambda file: Path(file).exists())
    if not missing:
        return
    say(f"installing on this machine: {', '.join(missing)}")
    install = ("apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *missing)
    if not succeeds(*install):
        run("apt-get", "update", "-q")
        run(*install, extra={"DEBIAN_FRONTEND": "noninteractive"})


def ensure(lab: Lab, recipe: Recipe, say: Callable[[str], None]) -> Path:
    """The directory of the root file system; built now if the cache has none."""
    target = lab.cache / f"rootfs-{recipe.key}"
    if target.exists():
        return target
    say(f"building the root file system (Debian {recipe.suite}, about 30 s, once)")
    lab.cache.mkdir(parents=True, exist_ok=True)
    building = lab.cache / f"building-{lab.name}"
    discard(lab)
    _bootstrap(Group(f"{lab.group}/build"), recipe, building)
    _finish(building, recipe)
    building.rename(target)
    return target


def discard(lab: Lab) -> None:
    """Remove what a build that was cut short left over."""
    build = Group(f"{lab.group}/build")
    build.kill()
    build.remove()
    shutil.rmtree(lab.cache / f"building-{lab.name}", ignore_errors=True)


def purge(lab: Lab, say: Callable[[str], None]) -> None:
    """Remove cached root file systems, except those that machines of another lab stand on."""
    mounts = "".join(_read(path) for path in Path("/proc").glob("[0-9]*/mountinfo"))
    for directory in lab.cache.glob("rootfs-*"):
        if f"lowerdir={directory}" in mounts:
            say(f"keeping {directory}: another lab's machines stand on it")
        else:
            shutil.rmtree(directory)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # that process has ended


def _bootstrap(group: Group, recipe: Recipe, target: Path) -> None:
    joins = group.create(controllers=False)
    command = [
        "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(recipe.packages)}",
        '--aptopt=Apt::Install-Recommends "false"', *(f"--aptopt={option}" for option in recipe.apt_options),
        "--dpkgopt=force-unsafe-io", "--skip=cleanup/apt/lists", recipe.suite, str(target), "-",
    ]  # fmt: skip
    # In a group of its own, so that the next `up` can end it if this one is killed.
    enter = f'echo $$ > {joins[0]}/cgroup.procs && exec "$@"'
    result = subprocess.run(
        ["sh", "-c", enter, "sh", *command],
        input=recipe.sources_list, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        said = "\n".join(result.stderr.strip().splitlines()[-8:])
        raise LabError(f"cannot build the root file system: mmdebstrap ended with {result.returncode}: {said}")
    group.remove()


def _finish(root: Path, recipe: Recipe) -> None:
    etc = root / "etc"
    for key in (etc / "ssh").glob("ssh_host_*"):
        key.unlink()  # every machine gets its own, pinned before it boots
    (etc / "apt/sources.list").write_text(recipe.sources_list)
    (etc / "apt/apt.conf.d/80lab").write_text(
        'Acquire::Languages "none";\n' + "".join(f"{o}\n" for o in recipe.apt_options)
    )
    (etc / "dpkg/dpkg.cfg.d/80lab").write_text("force-unsafe-io\n")  # a disk that is thrown away needs no fsync
    (etc / "machine-id").write_text("")
    (etc / "hostname").unlink(missing_ok=True)
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    wants = etc / "systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
