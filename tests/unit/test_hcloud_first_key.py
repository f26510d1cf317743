"""A server's first host key: pinned before it is asked for, in its user data, and back to what was if there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from tests.unit.hcloud_run import Cloud, cloud  # noqa: F401  # a fixture
from unterbau.connectors.hcloud_first_key import pinned_first
from unterbau.domain.cloud_labels import labels
from unterbau.secrets.hidden import MASK, redact
from unterbau.secrets.known_hosts import FIRST, Pin, first_keys, forget, pin, pinned, repinned

NAME, ADDRESS = "prod-servers-1", "10.0.0.11"
OWN = Pin((NAME, ADDRESS), "ssh-ed25519 AAAAown")
OTHER = "10.0.0.12 ssh-ed25519 AAAAother"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pins" / "known_hosts"


def new(file: Path, **more: Any) -> str:
    body = {
        "name": NAME, "labels": labels("prod", "servers"), "image": "debian-12",
        "candidates": [["cx32", "fsn1"], ["cx32", "nbg1"]], "pin": {"file": str(file), "address": ADDRESS}, **more,
    }  # fmt: skip
    return f"POST servers {json.dumps(body)}"


def user_data(one: Cloud) -> dict[str, Any]:
    """What the server gets of its metadata service."""
    [server] = one.api.project.all("servers")
    return dict(yaml.safe_load(server["user_data"]))


def test_the_server_gets_the_key_that_is_pinned(cloud: Cloud, file: Path) -> None:  # noqa: F811
    done, said = cloud.ran(new(file, user_data="#cloud-config\npackage_update: false\n"))
    assert done, said
    told = user_data(cloud)
    assert told["package_update"] is False
    private = load_ssh_private_key(told["ssh_keys"]["ecdsa_private"].encode(), None)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert public == told["ssh_keys"]["ecdsa_public"]
    assert pinned(file, ADDRESS) == pinned(file, NAME) == [Pin((NAME, ADDRESS), public, FIRST)]
    assert first_keys(str(file), ADDRESS) == [public]


def test_the_key_shows_nowhere(cloud: Cloud, file: Path) -> None:  # noqa: F811
    _, said = cloud.ran(new(file))
    private = user_data(cloud)["ssh_keys"]["ecdsa_private"]
    assert private.splitlines()[1] not in said
    assert redact(f"found {private}") == f"found {MASK}"
    assert private.splitlines()[1] not in file.read_text()


def test_it_takes_the_place_of_the_keys_of_a_machine_that_is_gone(cloud: Cloud, file: Path) -> None:  # noqa: F811
    pin(file, OWN)
    file.write_text(f"{file.read_text()}# a comment\n{OTHER}\n")
    assert cloud.ran(new(file))[0]
    assert [one.comment for one in pinned(file, NAME)] == [FIRST]
    assert file.read_text().splitlines()[:2] == ["# a comment", OTHER]


def test_it_is_pinned_before_the_server_is_asked_for(cloud: Cloud, file: Path) -> None:  # noqa: F811
    cloud.again(kill_at=0)
    with pytest.raises(BaseException):  # noqa: B017  # as if by kill -9
        cloud.ran(new(file))
    assert first_keys(str(file), NAME)
    assert cloud.names("servers") == []


def test_what_was_pinned_stays_if_nothing_can_be_had(cloud: Cloud, file: Path) -> None:  # noqa: F811
    pin(file, OWN)
    cloud.fault("sold_out")
    done, said = cloud.ran(new(file))
    assert not done
    assert "tried cx32 in fsn1" in said
    assert pinned(file, NAME) == [OWN]


def test_what_was_pinned_stays_if_the_api_refuses(cloud: Cloud, file: Path) -> None:  # noqa: F811
    pin(file, OWN)
    done, said = cloud.ran(new(file, image="no-such-image"))
    assert not done
    assert "cannot" in said
    assert pinned(file, NAME) == [OWN]


def test_half_a_server_keeps_its_key(cloud: Cloud, file: Path) -> None:  # noqa: F811
    pin(file, OWN)
    cloud.fault("half_created", times=1)
    assert not cloud.ran(new(file))[0]
    assert cloud.names("servers") == [NAME]
    assert first_keys(str(file), NAME) == [user_data(cloud)["ssh_keys"]["ecdsa_public"]]


def test_a_server_whose_answer_was_lost_keeps_its_key(cloud: Cloud, file: Path) -> None:  # noqa: F811
    cloud.fault("lost_answer", method="POST", path="/servers", times=1)
    done, said = cloud.ran(new(file))
    assert done, said
    assert first_keys(str(file), NAME) == [user_data(cloud)["ssh_keys"]["ecdsa_public"]]


def test_one_that_an_earlier_attempt_made_keeps_the_key_of_that(cloud: Cloud, file: Path) -> None:  # noqa: F811
    assert cloud.ran(new(file))[0]
    before = pinned(file, NAME)
    cloud.again()
    done, said = cloud.ran(new(file))  # whose listing was too old to show it
    assert done, said
    assert pinned(file, NAME) == before
    assert cloud.names("servers") == [NAME]


@pytest.mark.parametrize("odd", ["#!/bin/sh\nreboot\n", "#cloud-config\n- a list\n"])
def test_user_data_that_has_no_place_for_keys_is_refused(cloud: Cloud, file: Path, odd: str) -> None:  # noqa: F811
    pin(file, OWN)
    done, said = cloud.ran(new(file, user_data=odd))
    assert not done
    assert "user data that is no cloud-config" in said
    assert pinned(file, NAME) == [OWN]
    assert cloud.names("servers") == []


def test_pins_of_two_types_stand_beside_each_other(file: Path) -> None:
    first = pinned_first(NAME, {"file": str(file), "address": ADDRESS})
    pin(file, OWN)
    assert [one.type for one in pinned(file, ADDRESS)] == ["ecdsa-sha2-nistp256", "ssh-ed25519"]
    newer = Pin((NAME, ADDRESS), "ssh-ed25519 AAAAnewer")
    pin(file, newer)
    forget(file, ADDRESS, first.public)
    assert pinned(file, NAME) == [newer]
    repinned(file, (NAME,), ())
    assert pinned(file, ADDRESS) == []


@pytest.mark.parametrize("loser_first", [True, False])
def test_who_loses_against_another_run_does_not_take_its_key_away(file: Path, loser_first: bool) -> None:
    """Two runs pin before either asks for the server; the loser withdraws, whichever of them was the last to pin."""
    pin(file, OWN)
    one, other = (pinned_first(NAME, {"file": str(file), "address": ADDRESS}) for _ in range(2))
    loser, winner = (one, other) if loser_first else (other, one)
    loser.withdraw()
    assert [found.key for found in pinned(file, NAME)] == [winner.public]


def test_a_link_stays_a_link_and_the_file_keeps_its_permissions_and_comments(file: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.write_bytes(b"host ssh-rsa AAAA M\xfcller\n")
    linked.chmod(0o600)
    file.parent.mkdir()
    file.symlink_to(linked)
    pin(file, OWN)
    assert file.is_symlink()
    assert linked.read_bytes() == b"host ssh-rsa AAAA M\xfcller\n" + f"{OWN.line}\n".encode()
    assert linked.stat().st_mode & 0o777 == 0o600


def test_no_server_is_asked_for_whose_key_cannot_be_pinned(cloud: Cloud, file: Path) -> None:  # noqa: F811
    file.mkdir(parents=True)  # nobody, not even root, can write a file there
    done, said = cloud.ran(new(file))
    assert not done
    assert f"cannot create server {NAME}: its first host key cannot be pinned in {file}: Is a directory" in said
    assert cloud.names("servers") == []
