"""The files API: Replicate's shape, scopes, and one answer for everything that is not yours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from replicate.file import File

from replicate_proxy.api.files import file_routes
from tests.unit.replicate_proxy.files.conftest import KEY, FakeObjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.files.service import FileService

    Call = Callable[..., tuple[int, Any, dict[str, str]]]

ALL = "files:write predictions:read"


@pytest.fixture
def call(files: FileService) -> Call:
    routes = file_routes(files, signing_key=lambda: KEY)

    def send(
        method: str,
        resource: str,
        *,
        file_id: str = "",
        body: str | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        tenant: str | None = "acme",
        scopes: str = ALL,
    ) -> tuple[int, Any, dict[str, str]]:
        path = resource.replace("{id}", file_id)
        reply = routes.handle(
            {
                "httpMethod": method,
                "resource": resource,
                "path": path,
                "pathParameters": {"id": file_id} if file_id else None,
                "queryStringParameters": query,
                "headers": {"X-Forwarded-Proto": "https", **(headers or {})},
                "body": body,
                "requestContext": {
                    "path": f"/prod{path}",
                    "domainName": "api.example",
                    "authorizer": {"tenant": tenant, "key_id": "k", "scopes": scopes} if tenant else None,
                },
            }
        )
        return reply["statusCode"], json.loads(reply["body"]) if reply["body"] else None, reply["headers"]

    return send


def upload(call: Call, **options: Any) -> tuple[int, Any]:
    prepared = requests.Request(
        "POST", "https://x", files={"content": ("cat.png", "cat", "image/png")}
    ).prepare()
    assert isinstance(prepared.body, bytes)
    kind = str(prepared.headers["Content-Type"])
    status, body, _ = call(
        "POST", "/v1/files", body=prepared.body.decode(), headers={"content-type": kind}, **options
    )
    return status, body


def test_a_new_file_is_what_replicates_client_expects(call: Call) -> None:
    status, body = upload(call)
    assert status == 201
    file = File(**body)
    assert (file.name, file.size, file.etag) == ("cat.png", 3, file.checksums["md5"])
    assert file.urls["get"].startswith(f"https://api.example/prod/v1/files/{file.id}/download?")


def test_get_and_list_show_the_same_file(call: Call) -> None:
    _, made = upload(call)
    assert call("GET", "/v1/files/{id}", file_id=made["id"])[:2] == (200, made)
    assert call("GET", "/v1/files")[:2] == (200, {"next": None, "previous": None, "results": [made]})


def test_a_list_goes_on_at_an_absolute_address(call: Call) -> None:
    for _ in range(101):
        upload(call)
    _, first, _ = call("GET", "/v1/files")
    assert len(first["results"]) == 100
    assert first["next"].startswith("https://api.example/prod/v1/files?cursor=")
    _, second, _ = call("GET", "/v1/files", query=dict(parse_qsl(urlsplit(first["next"]).query)))
    assert (len(second["results"]), second["next"]) == (1, None)


@pytest.mark.parametrize("cursor", ["", "x", "../../x"])
def test_an_invented_cursor_is_refused(call: Call, cursor: str) -> None:
    status, body, _ = call("GET", "/v1/files", query={"cursor": cursor})
    assert (status, body["invalid_fields"][0]["field"]) == (422, "cursor")


def test_delete_answers_204_once(call: Call) -> None:
    _, made = upload(call)
    assert call("DELETE", "/v1/files/{id}", file_id=made["id"])[:2] == (204, None)
    assert call("DELETE", "/v1/files/{id}", file_id=made["id"])[0] == 404


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_foreign_id_answers_like_an_unknown_one(call: Call, method: str) -> None:
    _, made = upload(call)
    foreign = call(method, "/v1/files/{id}", file_id=made["id"], tenant="globex")
    unknown = call(method, "/v1/files/{id}", file_id="0" * 26, tenant="globex")
    misshapen = call(method, "/v1/files/{id}", file_id="x", tenant="globex")
    assert foreign == unknown == misshapen
    assert foreign[0] == 404


def test_a_download_is_a_redirect_for_whoever_holds_the_address(call: Call, objects: FakeObjects) -> None:
    _, made = upload(call)
    query = dict(parse_qsl(urlsplit(made["urls"]["get"]).query))
    status, _, headers = call("GET", "/v1/files/{id}/download", file_id=made["id"], query=query, tenant=None)
    assert status == 302
    assert headers["location"].startswith("https://objects.example/files/acme/")
    assert headers["cache-control"] == "no-store"


def test_every_wrong_download_address_answers_alike(call: Call) -> None:
    _, made = upload(call)
    good = dict(parse_qsl(urlsplit(made["urls"]["get"]).query))
    wrong: list[dict[str, str]] = [
        {},
        {**good, "owner": "globex"},
        {**good, "expiry": "9999999999"},
        {**good, "expiry": "x"},
        {**good, "signature": "0" * 64},
        {**good, "signature": "é"},
    ]
    answers = [
        call("GET", "/v1/files/{id}/download", file_id=made["id"], query=query, tenant=None)
        for query in wrong
    ]
    answers.append(call("GET", "/v1/files/{id}/download", file_id="0" * 26, query=good, tenant=None))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 404


def test_a_large_file_is_announced_and_posted_by_the_caller(call: Call, objects: FakeObjects) -> None:
    status, body, _ = call("POST", "/v1/uploads", body=json.dumps({"filename": "big.zip", "size": 500}))
    assert (status, body["status"], body["size"]) == (201, "awaiting_upload", 0)
    assert body["upload"]["method"] == "POST"
    objects.objects[body["upload"]["fields"]["key"]] = b"x" * 500
    _, found, _ = call("GET", "/v1/files/{id}", file_id=body["id"])
    assert found["size"] == 500
    assert "status" not in found


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filename"),
        ({"filename": "ä" * 200}, "filename"),
        ({"filename": "a", "size": 0}, "size"),
        ({"filename": "a", "size": 10**9}, "size"),
        ({"filename": "a", "key": "outputs/x"}, "key"),
        ({"filename": "a", "metadata": {"a": "x" * 17_000}}, "metadata"),
    ],
)
def test_a_wrong_announcement_is_refused_by_field(call: Call, body: dict[str, Any], field: str) -> None:
    status, problem, _ = call("POST", "/v1/uploads", body=json.dumps(body))
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)


def test_writing_and_reading_need_their_scopes(call: Call) -> None:
    assert upload(call, scopes="predictions:read")[0] == 403
    _, made = upload(call)
    requests_without = [
        ("POST", "/v1/uploads", "predictions:read"),
        ("DELETE", "/v1/files/{id}", "predictions:read"),
        ("GET", "/v1/files/{id}", "files:write"),
        ("GET", "/v1/files", "files:write"),
    ]
    for method, resource, scopes in requests_without:
        assert call(method, resource, file_id=made["id"], scopes=scopes)[0] == 403


def test_without_a_caller_there_is_nothing_but_downloads(call: Call) -> None:
    assert call("GET", "/v1/files", tenant=None)[0] == 401
    assert call("POST", "/v1/uploads", body="{}", tenant=None)[0] == 401
