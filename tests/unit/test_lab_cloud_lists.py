"""Pages, order and filters of the lab cloud's lists."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.lab_cloud import TOKEN, WatchedApi, public_key
from unterbau.lab.cloud.answer import ApiError
from unterbau.lab.cloud.limits import Limits
from unterbau.lab.cloud.listing import ordered, paged


@given(st.integers(0, 130), st.integers(1, 50))
def test_the_pages_of_a_list_are_the_list(count: int, per_page: int) -> None:
    records = [{"id": number} for number in range(count)]
    found: list[dict[str, Any]] = []
    page: int | None = 1
    asked = 0
    while page:
        part, meta = paged(records, {"page": [str(page)], "per_page": [str(per_page)]})
        pagination = meta["pagination"]
        assert pagination["previous_page"] == (page - 1 or None)
        assert pagination["total_entries"] == count
        found += part
        page, asked = pagination["next_page"], asked + 1
    assert found == records
    assert asked == pagination["last_page"] == max(1, (count + per_page - 1) // per_page)


@given(st.integers(1, 1000))
def test_a_page_behind_the_last_is_empty(page: int) -> None:
    part, meta = paged([], {"page": [str(page + 1)]})
    assert part == []
    assert (meta["pagination"]["next_page"], meta["pagination"]["previous_page"]) == (None, 1)


@pytest.mark.parametrize("query", [{"page": ["0"]}, {"page": ["-1"]}, {"page": ["x"]}, {"per_page": ["51"]},
                                   {"per_page": [""]}, {"page": ["²"]}])  # fmt: skip
def test_no_such_page(query: dict[str, list[str]]) -> None:
    with pytest.raises(ApiError) as raised:
        paged([], query)
    assert raised.value.code == "invalid_input"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2))))
def test_the_first_sort_counts_most(pairs: list[tuple[str, int]]) -> None:
    records = [{"id": at, "name": name, "age": age} for at, (name, age) in enumerate(pairs)]
    found = ordered(records, {"sort": ["name:asc", "age:desc"]}, ("name", "age"))
    assert found == sorted(records, key=lambda one: (one["name"], -int(str(one["age"])), one["id"]))


def test_no_such_order() -> None:
    for text in ("size", "name:up", "name:asc:desc", ""):
        with pytest.raises(ApiError, match="cannot sort"):
            ordered([], {"sort": [text]}, ("name",))


@pytest.fixture
def keys() -> WatchedApi:
    api = WatchedApi(TOKEN, limits=Limits(requests_an_hour=10**6))
    for number in range(7):
        labels = {"even": "yes"} if number % 2 == 0 else {}
        body = {"name": f"key-{number}", "public_key": public_key(f"{number}"), "labels": labels}
        assert "ssh_key" in api.ask("POST", "/ssh_keys", json.dumps(body))
    return api


def named(content: Any) -> list[str]:
    return [key["name"] for key in content["ssh_keys"]]


def test_filters_of_a_list(keys: WatchedApi) -> None:
    assert named(keys.ask("GET", "/ssh_keys", name="key-3")) == ["key-3"]
    assert named(keys.ask("GET", "/ssh_keys", name="key")) == []
    assert named(keys.ask("GET", "/ssh_keys", label_selector="!even")) == ["key-1", "key-3", "key-5"]
    found = keys.ask("GET", "/ssh_keys", label_selector="even=yes", sort="name:desc", per_page="2")
    assert named(found) == ["key-6", "key-4"]
    assert found["meta"]["pagination"]["total_entries"] == 4
    assert keys.ask("GET", "/ssh_keys", label_selector="a b")["error"]["code"] == "invalid_input"


def test_the_catalogue_is_listed_too(keys: WatchedApi) -> None:
    assert [one["name"] for one in keys.ask("GET", "/locations")["locations"]][:3] == ["fsn1", "nbg1", "hel1"]
    images = keys.ask("GET", "/images", name="debian-12", architecture="arm")["images"]
    assert [image["os_version"] for image in images] == ["12"]
    assert keys.ask("GET", "/isos")["isos"] == keys.ask("GET", "/certificates")["certificates"] == []
    assert keys.ask("GET", "/pricing")["pricing"]["currency"] == "EUR"
    assert keys.ask("GET", "/server_types", name="cx32")["server_types"][0]["memory"] == 8
    assert len(keys.ask("GET", "/load_balancer_types")["load_balancer_types"]) == 3


@pytest.mark.parametrize(
    "path",
    ["/datacenters", "/server", "/servers/0", "/servers/x", "/servers/1/metrics", "/servers/1/actions/enable_rescue",
     "/zones", "/v1/servers", "/servers/"],
)  # fmt: skip
def test_what_is_not_done_is_not_there(keys: WatchedApi, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert keys.ask(method, path)["error"]["code"] == "not_found"
