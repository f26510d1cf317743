"""A request that was sent twice, as one whose answer was lost is, is signed all the same; another's is not."""

from __future__ import annotations

from base64 import b64encode

import pytest

from tests.unit.test_kubernetes_connector import made
from unterbau.connectors.kubernetes_client import ApiError
from unterbau.connectors.kubernetes_signing import REQUESTS, signed


@pytest.mark.parametrize("request_text", ["ours", "another"])
def test_a_request_that_is_there_already(request_text: str) -> None:
    one, way = made()
    there = {"metadata": {"name": "me"}, "spec": {"request": b64encode(request_text.encode()).decode()},
             "status": {"certificate": b64encode(b"signed").decode()}}  # fmt: skip
    path = f"{REQUESTS}/me"
    way.tree |= {f"POST {REQUESTS}": (409, {"message": "already exists"}), f"GET {path}": (200, there),
                 f"PUT {path}/approval": (200, there), f"DELETE {path}": (200, {})}  # fmt: skip
    if request_text == "ours":
        assert signed(one.client, "me", "ours", 3600) == "signed"
        return
    with pytest.raises(ApiError, match="already exists"):
        signed(one.client, "me", "ours", 3600)
    assert not any(asked.startswith("DELETE") for asked in way.asked)
