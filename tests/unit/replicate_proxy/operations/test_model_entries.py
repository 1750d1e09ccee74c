"""Model entries through the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.admin_api import AdminApi

PRICE = {"per_image": "0.003", "source": "https://replicate.com/acme/model", "as_of": "2026-11-01"}
ENTRY = {
    "target": "black-forest-labs/flux-schnell",
    "description": "Fast images",
    "defaults": {"num_outputs": 1},
    "forced": {"disable_safety_checker": False},
    "allowed_tenants": ["acme"],
    "timeout_seconds": 300,
    "max_concurrency": 4,
    "images": {"format": "avif"},
    "price": PRICE,
    "cost_ceiling_usd": "0.25",
    "fallbacks": [{"target": "acme/other", "fields": {"prompt": "text", "seed": None}, "price": PRICE}],
    "fallback_on": ["target_gone", "queue_time"],
    "fallback_after_seconds": 30,
    "validate_input": False,
}


def test_entry_can_be_put_read_listed_and_deleted(admin_api: AdminApi) -> None:
    status, created = admin_api.call("PUT", "models/team/fast-image", ENTRY)
    assert (status, created) == (200, {**ENTRY, "name": "team/fast-image"})
    assert admin_api.call("GET", "models/team/fast-image") == (200, created)
    assert admin_api.call("GET", "models") == (200, {"models": [created]})
    assert admin_api.call("DELETE", "models/team/fast-image") == (204, None)
    assert admin_api.call("GET", "models/team/fast-image")[0] == 404
    assert admin_api.call("DELETE", "models/team/fast-image")[0] == 404


def test_exported_document_can_be_imported(admin_api: AdminApi) -> None:
    admin_api.call("PUT", "models/team/fast-image", ENTRY)
    admin_api.call("PUT", "models/acme/sdxl", {"forced": {"safe": True}})
    _, exported = admin_api.call("GET", "models")
    admin_api.call("PUT", "models", {"models": []})
    assert admin_api.call("GET", "models")[1] == {"models": []}

    assert admin_api.call("PUT", "models", exported) == (200, exported)


def test_hardware_stands_for_its_price_with_its_source(admin_api: AdminApi) -> None:
    _, created = admin_api.call("PUT", "models/acme/model", {"price": {"hardware": "gpu-l40s"}})

    assert created["price"]["per_second"] == "0.000975"
    assert created["price"]["source"] == "https://replicate.com/pricing"
    assert admin_api.call("PUT", "models/acme/model", created) == (200, created)


def test_change_is_conditional_if_it_names_the_etag(admin_api: AdminApi) -> None:
    admin_api.call("PUT", "models/acme/model", {})

    assert admin_api.call("PUT", "models/acme/model", {}, if_match='"0"')[0] == 412
    assert admin_api.call("DELETE", "models/acme/model", if_match='"0"')[0] == 412
    assert admin_api.call("PUT", "models", {"models": []}, if_match='"0"')[0] == 412
    assert admin_api.call("PUT", "models", {"models": []}, if_match='"1"')[0] == 200


def test_change_without_condition_is_repeated_after_another_one(admin_api: AdminApi) -> None:
    admin_api.call("PUT", "models/acme/first", {})
    admin_api.model_entries.conflicts = 2

    assert admin_api.call("PUT", "models/acme/second", {})[0] == 200
    assert sorted(admin_api.model_entries.document.entries) == ["acme/first", "acme/second"]


def test_change_gives_up_after_many_others(admin_api: AdminApi) -> None:
    admin_api.model_entries.conflicts = 100

    assert admin_api.call("PUT", "models/acme/model", {})[0] == 503


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"target": "no slash"}, "target"),
        ({"target": "a/b:short"}, "target"),
        ({"name": "acme/other"}, "name"),
        ({"timeout_seconds": 1}, "timeout_seconds"),
        ({"allowed_tenants": ["ACME"]}, "allowed_tenants.0"),
        ({"images": {"format": "gif"}}, "images.format"),
        ({"defaults": []}, "defaults"),
        ({"unknown": 1}, ""),
        ({"price": {"per_image": 0.003, "source": "x", "as_of": "2026-11-01"}}, "price.per_image"),
        ({"price": {"per_image": "-1", "source": "x", "as_of": "2026-11-01"}}, "price.per_image"),
        ({"price": {"per_image": "0.003"}}, "price"),
        ({"price": {"source": "x", "as_of": "2026-11-01"}}, "price"),
        ({"price": {"hardware": "gpu-x"}}, "price"),
        ({"cost_ceiling_usd": 0.25}, "cost_ceiling_usd"),
        ({"cost_ceiling_usd": "-1"}, "cost_ceiling_usd"),
        ({"fallbacks": [{"target": ""}]}, "fallbacks.0.target"),
        ({"fallbacks": [{"target": "a/b", "fields": {"prompt": 1}}]}, "fallbacks.0.fields.prompt"),
        ({"fallbacks": [{"target": "a/b"}] * 6}, "fallbacks"),
        ({"fallback_on": ["always"]}, "fallback_on.0"),
        ({"fallback_after_seconds": 30}, "fallback_after_seconds"),
        ({"fallbacks": [{"target": "a/b"}], "fallback_after_seconds": 4}, "fallback_after_seconds"),
        (
            {
                "fallbacks": [{"target": "a/b"}],
                "fallback_on": ["target_gone"],
                "fallback_after_seconds": 30,
            },
            "fallback_after_seconds",
        ),
        ({"price": {"hardware": "cpu", "per_second": "1"}}, "price"),
    ],
)
def test_invalid_entry_is_rejected_by_field(admin_api: AdminApi, body: Any, field: str) -> None:
    status, problem = admin_api.call("PUT", "models/acme/model", body)

    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert admin_api.model_entries.document.entries == {}


@pytest.mark.parametrize("depth", [65, 5_000])
@pytest.mark.parametrize("field", ["defaults", "forced"])
def test_fields_nested_deeper_than_an_input_are_rejected(admin_api: AdminApi, field: str, depth: int) -> None:
    nested: list[Any] = []
    for _ in range(depth - 2):
        nested = [nested]

    status, problem = admin_api.call("PUT", "models/acme/model", {field: {"prompt": nested}})

    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert admin_api.model_entries.document.entries == {}


@pytest.mark.parametrize("body", [[], "text"])
def test_body_that_is_no_object_is_rejected(admin_api: AdminApi, body: Any) -> None:
    assert admin_api.call("PUT", "models/acme/model", body)[0] == 422


def test_list_with_a_name_twice_is_rejected(admin_api: AdminApi) -> None:
    status, problem = admin_api.call("PUT", "models", {"models": [{"name": "acme/a"}, {"name": "acme/a"}]})

    assert (status, problem["invalid_fields"][0]["field"]) == (422, "models")


def test_entries_that_do_not_fit_are_rejected(admin_api: AdminApi) -> None:
    entry = {"name": "acme/a", "defaults": {"prompt": "x" * 400_000}}

    assert admin_api.call("PUT", "models", {"models": [entry]})[0] == 422


@pytest.mark.parametrize("name", ["_team/fast", "team/-fast"])
def test_name_that_could_not_be_imported_is_rejected(admin_api: AdminApi, name: str) -> None:
    status, problem = admin_api.call("PUT", f"models/{name}", {})

    assert (status, problem["invalid_fields"][0]["field"]) == (422, "name")


def test_no_entry_is_added_to_as_many_as_can_be_imported(admin_api: AdminApi) -> None:
    entries = [{"name": f"team/model-{number}"} for number in range(500)]
    assert admin_api.call("PUT", "models", {"models": entries})[0] == 200

    status, body = admin_api.call("PUT", "models/team/one-more", {})

    assert (status, body["detail"].strip()) == (422, "- there can be at most 500 entries")
    assert admin_api.call("PUT", "models/team/model-7", {"timeout_seconds": 60})[0] == 200
    assert admin_api.call("DELETE", "models/team/model-8")[0] == 204
    assert admin_api.call("PUT", "models/team/one-more", {})[0] == 200


def test_fields_that_the_model_would_refuse_are_refused(admin_api: AdminApi) -> None:
    admin_api.schemas.put("models/acme/painter")
    entry = {"target": "acme/painter", "defaults": {"width": 9000}, "forced": {"image": "cat.png"}}

    status, problem = admin_api.call("PUT", "models/team/alias", entry)
    assert status == 422
    assert [field["field"] for field in problem["invalid_fields"]] == ["defaults.width", "forced.image"]

    document = {"models": [{"name": "acme/other"}, {"name": "team/alias", **entry}]}
    status, problem = admin_api.call("PUT", "models", document)
    assert status == 422
    assert problem["invalid_fields"][0]["field"] == "models.1.defaults.width"
    assert admin_api.model_entries.document.entries == {}

    assert admin_api.call("PUT", "models/team/alias", {**entry, "validate_input": False})[0] == 200
    assert admin_api.call("PUT", "models/acme/painter", {"defaults": {"width": 512}})[0] == 200
