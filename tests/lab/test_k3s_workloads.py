"""What a K3s cluster holds, from data: pods on the workers, a job's log, Secrets that nobody reads, drift by hand."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.commands import changes, unterbau
from tests.lab.conftest import LabCommand
from tests.lab.k3s import DATA, KUBECTL, WITH_OBJECTS_INVENTORY, WITH_OBJECTS_SITE, Cluster

pytestmark = pytest.mark.lab

SPACE, PAGE, KEY_LENGTH = "shop", "from a ConfigMap\n", 40
API = "kubernetes"  # how a plan names the endpoint
CIPHERTEXT = b"k8s:enc:aescbc:v1:"
HIDDEN = "(sensitive value)"
SECRET = 'KubernetesSecret(name="{name}", namespace="shop", fields={{{{"KEY": SecretRef("shop/key")}}}}),'
# Pods are reached from nodes (their own addresses, and those of the pods' bridges), and reach nobody.
OBJECTS = f"""
from unterbau.declaration import (
    Container, ContainerPort, KubernetesConfigMap, KubernetesCronJob, KubernetesDeployment, KubernetesNamespace,
    KubernetesNetworkPolicy, KubernetesSecret, KubernetesService, Password, PolicyRule, Probe, Secret, SecretRef,
    ServicePort, Volume,
)

secrets = (Secret(name="shop/key", kind=Password(length={KEY_LENGTH})),)
kubernetes_namespaces = (KubernetesNamespace(name="shop"),)
kubernetes_config_maps = (
    KubernetesConfigMap(name="page", namespace="shop", data={{{{"index.html": {PAGE!r}}}}}),
)
kubernetes_secrets = ({SECRET.format(name="web")})
kubernetes_deployments = (
    KubernetesDeployment(
        name="web", namespace="shop", replicas=2, max_unavailable=1, containers=(
            Container(
                name="web", image="unterbau.lab/tools:1",
                command=("sh", "-c", "trap 'sleep 2; exit 0' TERM; httpd -f -p 8080 -h /page & wait"),
                memory_request_mib=8, memory_limit_mib=32, env_from_secrets=("web",),
                ports=(ContainerPort(name="http", port=8080),), volumes=(Volume(path="/page", config_map="page"),),
                readiness=Probe(port="http", path="/index.html", period_s=1),
            ),
        ),
    ),
)
kubernetes_services = (
    KubernetesService(
        name="web", namespace="shop", deployment="web", ports=(ServicePort(name="http", port=80),)
    ),
)
kubernetes_network_policies = (
    KubernetesNetworkPolicy(
        name="nodes", namespace="shop", ingress=(PolicyRule(cidr="{{subnet}}"), PolicyRule(cidr="10.42.0.0/16"))
    ),
)
"""
CRON_JOB = """
kubernetes_cron_jobs = (
    KubernetesCronJob(
        name="tick", namespace="shop", schedule="* * * * *", containers=(
            Container(
                name="tick", image="unterbau.lab/tools:1",
                command=("sh", "-c", "cat /page/index.html; printf %s \\"$KEY\\" | wc -c"),
                memory_request_mib=8, memory_limit_mib=32, env_from_secrets=("web",),
                volumes=(Volume(path="/page", config_map="page"),),
            ),
        ),
    ),
)
"""


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Three servers, two agents, and what runs on them."""
    root = tmp_path_factory.mktemp("workloads")
    made = Cluster(spare_command, root, site=WITH_OBJECTS_SITE, inventory=WITH_OBJECTS_INVENTORY)
    made.data = DATA + OBJECTS + CRON_JOB
    made.declared["images"] = '("lab-images",)'
    made.from_the_last_one()
    made.until(lambda: available(made) == 2, "two pods that are available")
    return made


def available(cluster: Cluster) -> int:
    """How many pods of the Deployment answer."""
    [found] = cluster.objects("deployments", SPACE)
    return int(found["status"].get("availableReplicas", 0))


def containers(cluster: Cluster) -> dict[str, list[Any]]:
    """{container of the Deployment's pods: when it was started, and how often again}."""
    return {
        one["containerID"]: [one["state"], one["restartCount"]]
        for pod in cluster.objects("pods -l app.kubernetes.io/name=web", SPACE)
        for one in pod["status"]["containerStatuses"]
    }


def value_of(cluster: Cluster, secret: str) -> str:
    """What the cluster has of a Secret's field, as its pods get it."""
    say = f"{KUBECTL} -n {SPACE} get secret {secret} -o 'jsonpath={{.data.KEY}}' | base64 -d"
    return cluster.on("srv-1", say)


@dataclass(frozen=True)
class Shown:
    """All that people see of one plan."""

    code: int
    text: str
    document: dict[str, Any]


def shown(cluster: Cluster) -> Shown:
    read = unterbau("plan", cluster.environment, cwd=cluster.root)
    code, document = cluster.plan()
    assert read.returncode == code
    return Shown(code, read.stdout + read.stderr + json.dumps(document), document)


def subjects(plan: dict[str, Any]) -> dict[str, Any]:
    """{subject: what the plan says of it}."""
    return {part["subject"]: part for change in plan["changes"] for part in change["changes"]}


def holds(text: str, value: str) -> bool:
    """Whether a value can be read in a text, as it is or as the API writes it."""
    return value in text or base64.b64encode(value.encode()).decode() in text


def test_a_second_run_changes_nothing_and_starts_nothing_again(cluster: Cluster) -> None:
    processes, pods = cluster.started(), containers(cluster)
    assert len(pods) == 2
    code, plan = cluster.plan()
    assert (code, plan["changes"], plan["problems"]) == (0, [], [])
    cluster.apply()
    assert (cluster.started(), containers(cluster)) == (processes, pods)


def test_pods_run_on_the_workers_and_their_service_answers(cluster: Cluster) -> None:
    workers = [cluster.name(one) for one in cluster.workers]
    pods = cluster.objects("pods")
    assert sum(pod["metadata"]["namespace"] == SPACE for pod in pods) >= 2
    placed = {pod["spec"].get("nodeName") for pod in pods} - {None}  # one may be waiting for its place right now
    assert placed == set(workers)
    [service] = cluster.objects("services", SPACE)
    for worker in cluster.workers:
        assert cluster.on(worker, f"curl -sS --fail -m 10 http://{service['spec']['clusterIP']}/") == PAGE
    [budget] = cluster.objects("poddisruptionbudgets", SPACE)
    assert budget["status"]["disruptionsAllowed"] == 1


def test_a_job_of_the_cron_job_ends_well_and_its_log_is_read_back(cluster: Cluster) -> None:
    def done() -> list[str]:
        jobs = cluster.objects("jobs", SPACE)
        assert not [job for job in jobs if job["status"].get("failed")]
        return [job["metadata"]["name"] for job in jobs if job["status"].get("succeeded") == 1]

    cluster.until(lambda: bool(done()), "a job that succeeded")
    name = done()[-1]
    log = cluster.on("srv-1", f"{KUBECTL} -n {SPACE} logs job/{name}")
    print(f"the log of {name}: {log!r}")  # noqa: T201  # what it must show
    assert log == f"{PAGE}{KEY_LENGTH}\n"
    [pod] = cluster.objects(f"pods -l job-name={name}", SPACE)
    assert pod["spec"]["nodeName"] in [cluster.name(one) for one in cluster.workers]


def stored(cluster: Cluster, server: str, below: str) -> dict[str, bytes]:
    """{key: value} of all below a key, as a server's etcd has them."""
    first, last = (base64.b64encode(f"{below}{end}".encode()).decode() for end in ("/", "0"))  # "0" follows "/"
    found = cluster.etcd(server, "kv/range", key=first, range_end=last).get("kvs", [])
    return {base64.b64decode(one["key"]).decode(): base64.b64decode(one["value"]) for one in found}


def test_secrets_are_ciphertext_in_etcd(cluster: Cluster) -> None:
    value = value_of(cluster, "web")
    assert len(value) == KEY_LENGTH
    for server in cluster.servers:
        page = stored(cluster, server, f"/registry/configmaps/{SPACE}")[f"/registry/configmaps/{SPACE}/page"]
        assert PAGE.encode() in page  # what is no secret is read as it is
        secrets = stored(cluster, server, "/registry/secrets")
        assert f"/registry/secrets/{SPACE}/web" in secrets
        assert [name for name, text in secrets.items() if not text.startswith(CIPHERTEXT)] == []
        assert [name for name, text in secrets.items() if value.encode() in text] == []
    print(f"{len(secrets)} Secrets, all begin with {CIPHERTEXT.decode()}")  # noqa: T201


def test_no_plan_shows_a_secret_neither_when_it_comes_nor_when_it_changes(cluster: Cluster) -> None:
    old = value_of(cluster, "web")
    both = f"kubernetes_secrets = ({SECRET.format(name='web')}{SECRET.format(name='again')})\n"
    cluster.data = DATA + OBJECTS + CRON_JOB + both
    cluster.write()
    comes = shown(cluster)
    assert (comes.code, list(subjects(comes.document))) == (2, [f"Secret {SPACE}/again"])
    assert HIDDEN in subjects(comes.document)[f"Secret {SPACE}/again"]["diff"]
    said = cluster.apply()
    assert value_of(cluster, "again") == old

    ran = unterbau("secrets", "rotate", "shop/key", "--env", cluster.environment, cwd=cluster.root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rotated = shown(cluster)
    assert rotated.code == 2
    changing = subjects(rotated.document)
    assert set(changing) == {f"Secret {SPACE}/{name} .data.KEY" for name in ("again", "web")}
    assert all(HIDDEN in part["old"] and HIDDEN in part["new"] for part in changing.values())
    said += ran.stdout + ran.stderr + cluster.apply()
    new = value_of(cluster, "web")
    assert new != old
    assert value_of(cluster, "again") == new
    for value in (old, new):
        assert len(value) == KEY_LENGTH
        assert not any(holds(text, value) for text in (comes.text, rotated.text, said))
    assert cluster.plan()[0] == 0


def test_a_plan_names_exactly_what_was_changed_by_hand_and_an_apply_undoes_it(cluster: Cluster) -> None:
    by_hand = f"{KUBECTL} -n {SPACE}"
    cluster.on("srv-2", f"{by_hand} scale deployment web --replicas=3")
    cluster.on("srv-2", f"{by_hand} label service web team=other")
    cluster.on("srv-2", f"{by_hand} delete cronjob tick")
    scaled, labelled = f"Deployment {SPACE}/web .spec.replicas", f"Service {SPACE}/web .metadata.labels.team"
    code, plan = cluster.plan()
    assert code == 2
    assert changes(plan) == {(API, scaled), (API, labelled), (API, f"CronJob {SPACE}/tick")}
    said = subjects(plan)
    assert (said[scaled]["old"].partition(" ")[0], said[scaled]["new"]) == ("3", "2")
    assert (said[labelled]["old"].partition(" ")[0], said[labelled]["new"]) == ("other", None)
    cluster.apply()
    [deployment], [service] = (cluster.objects(kind, SPACE) for kind in ("deployments", "services"))
    assert deployment["spec"]["replicas"] == 2
    assert "team" not in service["metadata"]["labels"]
    assert [one["metadata"]["name"] for one in cluster.objects("cronjobs", SPACE)] == ["tick"]
    code, plan = cluster.plan()
    assert (code, plan["changes"], plan["problems"]) == (0, [], [])


def test_what_is_no_longer_declared_goes_by_name_and_what_others_made_stays(cluster: Cluster) -> None:
    cluster.on("srv-1", f"{KUBECTL} -n {SPACE} create configmap theirs --from-literal=word=kept")
    cluster.data = DATA + OBJECTS
    cluster.write()
    code, plan = cluster.plan()
    failed = {rule["name"]: rule["arithmetic"] for rule in plan["rules"] if not rule["passed"]}
    assert code == 3
    assert f"ours and no longer declared: CronJob/{SPACE}/tick, Secret/{SPACE}/again" in str(failed)
    assert cluster.objects("cronjobs", SPACE)
    cluster.data += f'kubernetes_deletions = ("CronJob/{SPACE}/tick", "Secret/{SPACE}/again")\n'
    cluster.write()
    cluster.apply()
    assert cluster.objects("cronjobs", SPACE) == []
    secrets, maps = (
        {one["metadata"]["name"] for one in cluster.objects(kind, SPACE)} for kind in ("secrets", "configmaps")
    )
    assert secrets == {"web"}
    assert {"page", "theirs"} <= maps
    assert cluster.plan()[0] == 0
