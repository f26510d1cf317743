"""What the lab's object storage holds is as declared, and the writer of its backups can destroy nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.commands import LIMIT_S, ROOT, checkouts, on, settled, unterbau
from tests.lab.storage import until
from tests.s3_target import Target
from tests.s3_writer import ATTEMPTS, DONE, SELF_SERVICE, WORK
from unterbau.lab import everyone, machine
from unterbau.lab.layout import Lab
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.store import Store

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("converged")]

NODE = "wrk-1"  # an application's: it runs in the node's network
WRITER, BUCKET = "backup-writer", "backups"
SECRET = f"s3/{WRITER}"
GATEWAY_PORT, API_PORT = 9443, 9000


@dataclass(frozen=True)
class Service:
    """The lab's S3 service, and the checkout that declares it."""

    lab: Lab
    root: Path
    folder: Path  # for what a test writes

    def secret(self, name: str) -> str:
        """A value of the bootstrap store."""
        return Store(self.lab.store, self.lab.identity).version(name).value

    def must(self, *arguments: str) -> str:
        """`unterbau ARGUMENTS` in the checkout, without an error."""
        ran = unterbau(*arguments, cwd=self.root)
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
        return ran.stdout

    def plan(self) -> tuple[int, dict[str, list[Any]]]:
        """(exit code, {operation on @s3: what it would change})."""
        ran = unterbau("plan", self.lab.name, "--json", cwd=self.root)
        assert ran.stdout, ran.stderr
        found = [one for one in json.loads(ran.stdout)["changes"] if one["host"] == "s3"]
        return ran.returncode, {one["operation"]: one["changes"] for one in found}

    def target(self, port: int, secret: str = "") -> Target:
        """The writer's way to the backups, and the root's."""
        address = next(one for one in everyone.machines(self.lab) if one.name.endswith(NODE)).address
        authorities = self.folder / "root.pem"
        authorities.write_text(pki.root_certificate(Hidden(self.secret("pki/root"))))
        return Target(
            url=f"https://{address}:{port}", authorities=str(authorities),
            root="unterbau", root_secret=self.secret("storage/root"), root_url=f"https://{address}:{API_PORT}",
            writer=WRITER, writer_secret=secret or self.secret(SECRET), bucket=BUCKET, other="tests-of-others",
        )  # fmt: skip

    def there(self, module: str, target: Target, *arguments: str) -> Any:
        """What a program of these tests says, that runs in the node's network."""
        one = next(one for one in everyone.machines(self.lab) if one.name.endswith(NODE))
        enter = ["nsenter", "--target", str(machine.leader(self.lab, one)), "--net", "--"]
        ran = subprocess.run(
            [*enter, sys.executable, "-m", module, *arguments], cwd=ROOT, input=json.dumps(asdict(target)),
            text=True, capture_output=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-4000:]
        return json.loads(ran.stdout)

    def by_root(self, *orders: tuple[str, dict[str, Any]]) -> list[Any]:
        """What somebody does by hand: methods of boto3's client, and of MinIO's with `admin.` before them."""
        return list(self.there("tests.s3_root", self.target(API_PORT), json.dumps(orders)))


@pytest.fixture(scope="module")
def service(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(lab, checkouts[0], tmp_path_factory.mktemp("s3"))


@pytest.fixture(scope="module")
def tries(service: Service) -> Iterator[dict[str, dict[str, Any]]]:
    """What came of everything, through the gateway as applications go, and past it."""
    other = {"Bucket": "tests-of-others"}
    service.by_root(("create_bucket", other), ("put_object", {**other, "Key": "secret", "Body": "of others"}))
    ways = {"gateway": GATEWAY_PORT, "member": API_PORT}
    yield {way: service.there("tests.s3_writer", service.target(port)) for way, port in ways.items()}
    service.by_root(("delete_object", {**other, "Key": "secret"}), ("delete_bucket", other))


@pytest.mark.parametrize("way", ["gateway", "member"])
@pytest.mark.parametrize("name", WORK)
def test_the_writer_of_backups_does_its_work(tries: dict[str, dict[str, Any]], name: str, way: str) -> None:
    assert tries[way]["work"][name] == DONE


@pytest.mark.parametrize("way", ["gateway", "member"])
@pytest.mark.parametrize("name", ATTEMPTS)
def test_whoever_has_its_key_can_do_nothing_else(tries: dict[str, dict[str, Any]], name: str, way: str) -> None:
    answer, broken = tries[way]["attempts"][name]
    assert broken == []
    assert answer != DONE


@pytest.mark.parametrize("name", SELF_SERVICE)
def test_nobody_makes_keys_through_the_gateway(tries: dict[str, dict[str, Any]], name: str) -> None:
    """MinIO lets every user make keys of its own, which outlive a rotation; its admin API is for members only."""
    assert tries["gateway"]["attempts"][name][0] != DONE


@contextmanager
def as_declared_after(service: Service) -> Iterator[None]:
    try:
        yield
    finally:
        service.must("apply", service.lab.name, "-y")
        assert service.plan() == (0, {})


def test_what_is_given_by_hand_is_taken_back_and_a_stranger_is_left_alone(
    service: Service,
) -> None:
    service.by_root(
        ("admin.user_add", {"access_key": "made-by-hand", "secret_key": "secret-of-a-hand"}),
        ("admin.attach_policy", {"policies": ["consoleAdmin"], "user": WRITER}),
    )
    with as_declared_after(service):
        code, changes = service.plan()
        assert code == 2
        assert [part["subject"] for parts in changes.values() for part in parts] == [f"user {WRITER} policies"]
        assert "consoleAdmin" in json.dumps(changes)
    [users, _] = service.by_root(("admin.user_list", {}), ("admin.user_remove", {"access_key": "made-by-hand"}))
    assert "made-by-hand" in users
    assert "consoleAdmin" not in json.dumps(users)


def test_a_rotated_secret_reaches_the_service_in_the_same_run(service: Service) -> None:
    old = service.secret(SECRET)
    with as_declared_after(service):
        service.must("secrets", "rotate", SECRET, "--env", service.lab.name)
        assert service.plan()[0] == 2
    listing = json.dumps([["list_objects_v2", {"Bucket": BUCKET, "MaxKeys": 1}]])
    assert service.secret(SECRET) != old
    assert "Error" not in service.there("tests.s3_root", service.target(GATEWAY_PORT), listing, "writer")[0]
    [refused] = service.there("tests.s3_root", service.target(GATEWAY_PORT, old), listing, "writer")
    assert refused["Error"] == "SignatureDoesNotMatch"


@pytest.fixture
def isolated(service: Service) -> Iterator[None]:
    """The node's server reaches none but one of the others; they all reach it."""
    others = ", ".join(str(one.address) for one in everyone.machines(service.lab)[:3])
    for words in (
        "table inet isolate",
        "chain inet isolate outwards '{ type filter hook output priority 0; }'",
        f"rule inet isolate outwards ip daddr '{{ {others} }}' tcp dport {API_PORT} reject with tcp reset",
    ):
        on(NODE, f"nft add {words}")
    yield
    on(NODE, "nft delete table inet isolate")
    until(lambda: not unreached(service))
    settled()  # the others' servers try it again within half a minute


def unreached(service: Service) -> list[str]:
    ran = unterbau("storage", "status", service.lab.name, "--json", cwd=service.root)
    return [problem for problem in json.loads(ran.stdout)["problems"] if "does not reach" in problem]


@pytest.mark.usefixtures("isolated")
def test_a_server_that_denies_what_is_there_and_calls_itself_healthy_is_named_and_not_believed(
    service: Service,
) -> None:
    mark = ("get_object", {"Bucket": "unterbau", "Key": f"marks/bucket/{BUCKET}"})
    until(lambda: service.by_root(mark) == [{"Error": "NoSuchKey"}])
    health = f"{service.target(API_PORT).url}/minio/health/cluster"
    curl = f"curl -s --cacert /etc/unterbau/pki/ca.pem -o /dev/null -w '%{{http_code}}' {health}"
    assert on("srv-1", curl) == "200"
    [problem] = unreached(service)
    assert problem.startswith(
        f"{NODE}: its server does not reach srv-1, srv-2, srv-3 by name and may deny what is there"
    )
    for _ in range(3):  # whichever server is asked first
        ran = unterbau("plan", service.lab.name, cwd=service.root)
        assert ran.returncode == 0, ran.stdout
