"""A client certificate that the cluster's own signer makes. Source: Kubernetes, "Certificate Signing Requests"."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Any

import gevent

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.kubernetes_client import ApiError, KubernetesClient
from unterbau.connectors.members import LOOK_AGAIN_S

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SIGNER = "kubernetes.io/kube-apiserver-client"
WITHIN_S = 30
CONFLICT = 409


def signed(client: KubernetesClient, name: str, request: str, life_s: int) -> str:
    """The certificate (PEM) for a request (PEM), approved by us; the request is deleted again. EndpointError."""
    spec = {
        "request": b64encode(request.encode()).decode(),
        "signerName": SIGNER,
        "expirationSeconds": life_s,
        "usages": ["client auth"],
    }
    body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}}
    made = _made(client, name, {**body, "spec": spec})
    try:
        approval = {
            "type": "Approved",
            "status": "True",
            "reason": "UnterbauKubeconfig",
            "message": "asked for by hand",
        }
        made["status"] = {"conditions": [approval]}
        client.call("put", f"{REQUESTS}/{name}/approval", body=made)
        return _awaited(client, name)
    finally:
        with suppress(ApiError):
            client.call("delete", f"{REQUESTS}/{name}")


def _made(client: KubernetesClient, name: str, body: dict[str, Any]) -> Any:
    """The request as the API has it, also if it was sent twice because an answer was lost."""
    try:
        return client.call("post", REQUESTS, body=body)
    except ApiError as error:
        if error.status != CONFLICT:
            raise
        found = client.call("get", f"{REQUESTS}/{name}")
        if found["spec"]["request"] != body["spec"]["request"]:
            raise
        return found


def _awaited(client: KubernetesClient, name: str) -> str:
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        status: dict[str, Any] = client.call("get", f"{REQUESTS}/{name}").get("status") or {}
        if certificate := status.get("certificate"):
            return b64decode(certificate).decode()
        failed = [one for one in status.get("conditions") or () if one["type"] in ("Failed", "Denied")]
        if failed or time.monotonic() > deadline_s:
            why = failed[0].get("message") if failed else f"nothing within {WITHIN_S} s"
            raise EndpointError(f"cannot sign {name}: found {why}; see the controller manager's log of the leader")
        gevent.sleep(LOOK_AGAIN_S)
