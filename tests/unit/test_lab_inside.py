"""What a machine has of its own before it boots, and which drives it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from unterbau.lab import cgroup, drive, inside, machine
from unterbau.lab.cgroup import Group
from unterbau.lab.layout import Lab, lab_from


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    found = lab_from({"UNTERBAU_LAB_DIR": str(tmp_path)})
    hosts = found.state / "ssh" / "hosts"
    for one in found.machines:
        (hosts / one.name).mkdir(parents=True)
        for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
            (hosts / one.name / name).write_text("made when the lab is")
    found.key.with_suffix(".pub").write_text("ssh-ed25519 AAAA operator\n")
    return found


def test_units_run_at_boot_and_drives_have_a_folder_to_lie_over(lab: Lab) -> None:
    one = lab.machines[0]
    inside.prepare(lab, one, Path("/rootfs"))
    wants = one.upper / "etc/systemd/system/sysinit.target.wants"
    assert {link.name for link in wants.iterdir()} == {"lab-settings.service", "lab-control-groups.service"}
    for link in wants.iterdir():
        assert (one.upper / str(link.readlink())[1:]).is_file()
    assert all((one.upper / each.path[1:]).is_dir() for each in drive.DRIVES)


def test_what_a_kubelet_checks_can_be_set_in_each_machine(lab: Lab) -> None:
    """Source: kubelet, protectKernelDefaults; each must be a file of the machine's own, or it would be the host's."""
    asked = {"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"}
    assert asked | {"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} <= set(inside.SHARED_SETTINGS)
    inside.prepare(lab, lab.machines[0], Path("/rootfs"))
    assert (lab.machines[0].directory / "settings.usual/vm/overcommit_memory").read_text() == "0\n"


def test_containers_volumes_and_etcd_are_on_drives_of_their_own() -> None:
    placed = {one.path: one.filesystem for one in drive.DRIVES}
    assert placed["/var/lib/rancher"] == placed["/var/lib/kubelet"] == "ext4"
    assert placed["/mnt/drive-1"] == "xfs"
    assert len(placed) == len(drive.DRIVES)


def test_the_first_process_of_a_container_is_no_machines(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's has a third number, in its own name space; it may well be found before the machine's."""
    ids = {100: "100\t57\t1", 101: "101\t9", 102: "102\t1"}
    monkeypatch.setattr(Group, "processes", lambda _group: list(ids))
    monkeypatch.setattr(machine, "_status", lambda pid: {"NSpid": ids[pid]})
    assert machine.leader(lab, lab.machines[0]) == 102


def test_a_machine_makes_nodes_of_all_devices_and_opens_the_harmless_ones() -> None:
    """Numbers 7 and up to 254 of blocks are disks: making a node of one is all that is allowed there."""
    assert [device for device in cgroup._DEVICES if device.startswith("b ")] == ["b *:* m"]
    assert "c *:* m" in cgroup._DEVICES
    assert all("*:*" not in device for device in cgroup._DEVICES if device.endswith("rwm"))
