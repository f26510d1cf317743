"""What is in a cloud project and not declared: others' is left alone, ours is deleted by name only."""

from __future__ import annotations

from contextlib import suppress

import pytest

from operations import (
    hcloud_network,
    hcloud_withdrawal,
)
from tests.unit.hcloud_run import Cloud, KilledError, cloud, ran
from tests.unit.hcloud_site import (
    DECLARED,
    KINDS,
    MONTHLY,
    NETWORK,
    changed,
    failures,
    the,
    whole,
)
from unterbau.domain.cloud_labels import labels

__all__ = ["cloud"]


def test_what_is_not_ours_is_left_alone_until_somebody_labels_it(cloud: Cloud) -> None:
    cloud.make("networks", name="prod", ip_range="10.0.0.0/16")
    done = ran(cloud, hcloud_network.declared, [NETWORK])
    assert done.refused == (
        "cannot make the network prod on production: found one that is not ours; rename what is declared, or label "
        "that one cluster=prod, managed-by=unterbau: then it becomes ours"
    )
    cloud.do("PUT", f"networks/{the(cloud, 'networks', 'prod')['id']}", labels=labels("prod"))
    cloud.again()
    changed(cloud, hcloud_network.declared, [NETWORK])


def test_what_is_left_over_is_named_and_deleted_by_name_only(cloud: Cloud) -> None:
    whole(cloud)
    cloud.make("servers", name="pet", server_type="cx22", image="debian-12", location="fsn1")
    left = {**DECLARED, "servers": ["prod-servers-1"]}
    done = ran(cloud, hcloud_withdrawal.exactly, left, deletions=["server/prod-servers-1", "server/pet"])
    assert done.refused == (
        f"ours and no longer declared: server/prod-servers-2 (cx32 in fsn1, {MONTHLY}); declare them, or name them in "
        "cloud_deletions"
    )
    assert done.commands == []
    allowed = ["server/prod-servers-2", "server/pet"]
    done = ran(cloud, hcloud_withdrawal.exactly, left, deletions=allowed)
    assert not done.error + done.refused
    assert done.changes["server prod-servers-2"] == ("present, cx32 in fsn1, 6.80 EUR a month, net", None)
    assert [rule.arithmetic for rule in done.said.rules] == [
        "server/prod-servers-2 (cx32 in fsn1, 6.80 EUR a month, net): in cloud_deletions"
    ]
    assert cloud.names("servers") == ["pet", "prod-servers-1"]
    cloud.again()
    assert ran(cloud, hcloud_withdrawal.exactly, left, deletions=allowed).noops == ["nothing of ours is left over"]


def test_a_whole_project_goes_in_an_order_that_the_api_allows(cloud: Cloud) -> None:
    whole(cloud)
    allowed = [f"{kind[:-1].replace('_', '-')}/{name}" for kind, names in DECLARED.items() for name in names]
    done = ran(cloud, hcloud_withdrawal.exactly, {}, deletions=allowed)
    assert not done.error + done.refused
    assert {kind: cloud.names(kind) for kind in KINDS} == {kind: [] for kind in KINDS}


@pytest.mark.parametrize("kill_at", range(0, 40, 4))
def test_a_killed_withdrawal_goes_on(cloud: Cloud, kill_at: int) -> None:
    whole(cloud)
    allowed = [f"{kind[:-1].replace('_', '-')}/{name}" for kind, names in DECLARED.items() for name in names]
    cloud.again(kill_at=kill_at, before=kill_at % 8 == 0)
    with suppress(KilledError):
        ran(cloud, hcloud_withdrawal.exactly, {}, deletions=allowed)
    cloud.api.settle()
    cloud.again()
    assert failures([ran(cloud, hcloud_withdrawal.exactly, {}, deletions=allowed)]) == []
    assert [cloud.names(kind) for kind in KINDS] == [[]] * len(KINDS)
