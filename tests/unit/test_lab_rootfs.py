"""The recipe of the root file system follows the host's apt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from unterbau.lab.errors import LabError
from unterbau.lab.keys import known_hosts_lines
from unterbau.lab.rootfs import missing_packages, recipe_from, with_packages

# `apt-get indextargets --format …` and `apt-config dump`, apt 2.6.1, Debian 12, 2026-11-21; host name changed.
TARGETS = """\
Debian|http://mirror.example/debian|bookworm|main|bookworm|Packages
Debian|http://mirror.example/debian|bookworm|main|bookworm|DEP-11
Debian|http://mirror.example/debian|bookworm-updates|main|bookworm-updates|Packages
Debian|http://security.example/debian-security|bookworm-security|main|bookworm-security|Packages
"""
CONFIG = 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\nAcquire::cdrom::mount "/media/cdrom/";\n'


def test_suite_sources_and_mirrors_are_the_hosts() -> None:
    recipe = recipe_from(TARGETS, CONFIG)
    assert recipe.suite == "bookworm"
    assert [line.partition("] ")[2] for line in recipe.sources] == [
        "http://mirror.example/debian bookworm main",
        "http://mirror.example/debian bookworm-updates main",
        "http://security.example/debian-security bookworm-security main",
    ]
    assert recipe.mirrors == ("mirror.example", "security.example")
    assert recipe.apt_options == ('Acquire::Check-Valid-Until "false";', 'Acquire::Check-Date "false";')


def test_packages_can_be_there_from_the_start() -> None:
    recipe = recipe_from(TARGETS, CONFIG)
    assert with_packages(recipe, {}) == recipe
    more = with_packages(recipe, {"UNTERBAU_LAB_PACKAGES": "sudo chrony systemd sudo"})
    assert more.packages == (*recipe.packages, "chrony", "sudo")
    assert more.key != recipe.key


@pytest.mark.parametrize("names", ["chrony,sudo", "--include=x", "$(reboot)"])
def test_what_is_no_package_is_refused(names: str) -> None:
    with pytest.raises(LabError, match="is no package's name"):
        with_packages(recipe_from(TARGETS, CONFIG), {"UNTERBAU_LAB_PACKAGES": names})


def test_archives_of_others_stay_out() -> None:
    foreign = "Node Source|https://deb.example/node|nodistro|main|nodistro|Packages\n"
    assert recipe_from(TARGETS + foreign, CONFIG) == recipe_from(TARGETS, CONFIG)
    with pytest.raises(LabError, match="the host's apt knows none"):
        recipe_from(foreign, CONFIG)
    with pytest.raises(LabError, match="the host's apt knows none"):
        recipe_from("", "")


def test_of_a_mirror_list_the_first_mirror_is_taken() -> None:
    targets = "Debian|mirror+file:/etc/apt/mirrors/debian.list|bookworm|main|bookworm|Packages\n"
    lists = {Path("/etc/apt/mirrors/debian.list"): "# mirrors\n\nhttps://one.example/debian\tpriority:1\nhttp://two\n"}
    recipe = recipe_from(targets, CONFIG, lists.__getitem__)
    assert recipe.mirrors == ("one.example",)
    with pytest.raises(LabError, match="cannot choose a Debian archive: the mirror list"):
        recipe_from(targets, CONFIG, lambda _: "# none\n")


def test_the_key_changes_with_anything_in_the_recipe() -> None:
    recipe = recipe_from(TARGETS, CONFIG)
    others = (
        recipe_from(TARGETS, ""),
        recipe_from(TARGETS.splitlines()[0], CONFIG),
        replace(recipe, packages=(*recipe.packages, "ed")),
        replace(recipe, version=recipe.version + 1),
    )
    assert recipe.key == recipe_from(TARGETS, CONFIG).key
    assert len({recipe.key, *(other.key for other in others)}) == 5


def test_only_what_is_missing_is_installed() -> None:
    assert missing_packages(lambda file: not file.endswith(("nft", "nspawn"))) == ["systemd-container", "nftables"]
    assert missing_packages(lambda _: True) == []


def test_host_keys_are_pinned_by_address_and_name() -> None:
    lines = known_hosts_lines({("10.77.0.11", "srv-1"): "ssh-ed25519 AAAA comment\n"})
    assert lines == "10.77.0.11,srv-1 ssh-ed25519 AAAA\n"
