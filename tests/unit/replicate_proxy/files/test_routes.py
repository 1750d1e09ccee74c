"""The files API: Replicate's shape, scopes, and isolation of tenants."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from replicate.file import File

from replicate_proxy.api.files import add_file_routes
from replicate_proxy.api.routing import Router
from tests.unit.replicate_proxy.files.conftest import MEBIBYTE, SIGNING_KEY, FakeObjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.files.service import FileService

    Call = Callable[..., tuple[int, Any, dict[str, str]]]

ALL_SCOPES = "files:write predictions:read"


@pytest.fixture
def call(files: FileService) -> Call:
    router = Router()
    add_file_routes(router, files, load_signing_key=lambda: SIGNING_KEY)

    def send(
        method: str,
        resource: str,
        *,
        file_id: str = "",
        body: str | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        tenant: str | None = "acme",
        scopes: str = ALL_SCOPES,
    ) -> tuple[int, Any, dict[str, str]]:
        path = resource.replace("{id}", file_id)
        response = router.handle(
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
        content = json.loads(response["body"]) if response["body"] else None
        return response["statusCode"], content, response["headers"]

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


def test_create_returns_file_of_replicates_client(call: Call) -> None:
    status, body = upload(call)
    assert status == 201
    file = File(**body)
    assert (file.name, file.size, file.etag) == ("cat.png", 3, file.checksums["md5"])
    assert file.urls["get"].startswith(f"https://api.example/prod/v1/files/{file.id}/download?")


@pytest.mark.parametrize(("size", "status"), [(4_500_000, 201), (4_600_001, 413), (8_000_000, 413)])
def test_create_accepts_what_fits_into_a_lambda_event(call: Call, size: int, status: int) -> None:
    request = requests.Request(
        "POST", "https://api.example/", files={"content": ("a.txt", "x" * size, "text/plain")}
    ).prepare()
    assert isinstance(request.body, bytes)
    headers = {"Content-Type": request.headers["Content-Type"]}
    response_status, body, _ = call("POST", "/v1/files", body=request.body.decode(), headers=headers)
    assert response_status == status
    if status == 413:
        assert "POST /v1/uploads" in body["detail"]


def test_get_and_list_return_created_file(call: Call) -> None:
    _, created = upload(call)
    assert call("GET", "/v1/files/{id}", file_id=created["id"])[:2] == (200, created)
    assert call("GET", "/v1/files")[:2] == (200, {"next": None, "previous": None, "results": [created]})


def test_list_returns_absolute_url_of_next_page(call: Call) -> None:
    for _ in range(101):
        upload(call)
    _, first, _ = call("GET", "/v1/files")
    assert len(first["results"]) == 100
    assert first["next"].startswith("https://api.example/prod/v1/files?cursor=")
    _, second, _ = call("GET", "/v1/files", query=dict(parse_qsl(urlsplit(first["next"]).query)))
    assert (len(second["results"]), second["next"]) == (1, None)


@pytest.mark.parametrize("cursor", ["x", "../../x"])
def test_list_rejects_unknown_cursor(call: Call, cursor: str) -> None:
    status, body, _ = call("GET", "/v1/files", query={"cursor": cursor})
    assert (status, body["invalid_fields"][0]["field"]) == (400, "cursor")


def test_second_delete_returns_404(call: Call) -> None:
    _, created = upload(call)
    assert call("DELETE", "/v1/files/{id}", file_id=created["id"])[:2] == (204, None)
    assert call("DELETE", "/v1/files/{id}", file_id=created["id"])[0] == 404


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_file_of_other_tenant_is_indistinguishable_from_unknown_one(call: Call, method: str) -> None:
    _, created = upload(call)
    of_other_tenant = call(method, "/v1/files/{id}", file_id=created["id"], tenant="globex")
    unknown = call(method, "/v1/files/{id}", file_id="0" * 26, tenant="globex")
    malformed = call(method, "/v1/files/{id}", file_id="x", tenant="globex")
    assert of_other_tenant == unknown == malformed
    assert of_other_tenant[0] == 404


def test_download_redirects_holder_of_signed_url(call: Call, objects: FakeObjects) -> None:
    _, created = upload(call)
    query = dict(parse_qsl(urlsplit(created["urls"]["get"]).query))
    status, _, headers = call(
        "GET", "/v1/files/{id}/download", file_id=created["id"], query=query, tenant=None
    )
    assert status == 302
    assert headers["location"].startswith("https://objects.example/files/acme/")
    assert headers["cache-control"] == "no-store"


def test_head_of_a_download_redirects_to_a_url_for_head(call: Call) -> None:
    _, created = upload(call)
    query = dict(parse_qsl(urlsplit(created["urls"]["get"]).query))
    download = {"file_id": created["id"], "query": query, "tenant": None}
    status, body, headers = call("HEAD", "/v1/files/{id}/download", **download)
    assert (status, body) == (302, None)
    assert headers["location"].endswith("&method=HEAD")
    download["query"] = {**query, "signature": "0" * 64}
    assert call("HEAD", "/v1/files/{id}/download", **download)[0] == 404


def test_all_invalid_download_urls_get_same_response(call: Call) -> None:
    _, created = upload(call)
    valid_query = dict(parse_qsl(urlsplit(created["urls"]["get"]).query))
    invalid_queries: list[dict[str, str]] = [
        {},
        {**valid_query, "owner": "globex"},
        {**valid_query, "expiry": "9999999999"},
        {**valid_query, "expiry": "x"},
        {**valid_query, "signature": "0" * 64},
        {**valid_query, "signature": "é"},
    ]
    responses = [
        call("GET", "/v1/files/{id}/download", file_id=created["id"], query=query, tenant=None)
        for query in invalid_queries
    ]
    responses.append(call("GET", "/v1/files/{id}/download", file_id="0" * 26, query=valid_query, tenant=None))
    assert all(response == responses[0] for response in responses)
    assert responses[0][0] == 404


def test_create_upload_returns_form_for_large_file(call: Call, objects: FakeObjects) -> None:
    status, body, _ = call("POST", "/v1/uploads", body=json.dumps({"filename": "big.zip", "size": 500}))
    assert (status, body["status"], body["size"]) == (201, "awaiting_upload", 0)
    assert body["upload"]["method"] == "POST"
    objects.objects[body["upload"]["fields"]["key"]] = b"x" * 500
    _, file, _ = call("GET", "/v1/files/{id}", file_id=body["id"])
    assert file["size"] == 500
    assert "status" not in file


def test_create_upload_returns_parts_for_larger_file(call: Call, objects: FakeObjects) -> None:
    body = json.dumps({"filename": "big.zip", "size": 40 * MEBIBYTE})
    status, created, _ = call("POST", "/v1/uploads", body=body)
    assert (status, created["status"], created["size"]) == (201, "awaiting_upload", 0)
    upload = created["upload"]
    assert upload["method"] == "PUT"
    assert [(part["part_number"], part["size"]) for part in upload["parts"]] == [
        (1, 16 * MEBIBYTE),
        (2, 16 * MEBIBYTE),
        (3, 8 * MEBIBYTE),
    ]
    assert upload["complete_url"] == f"https://api.example/prod/v1/uploads/{created['id']}/complete"

    assert call("GET", "/v1/uploads/{id}", file_id=created["id"])[:2] == (200, created)
    status, problem, _ = call("POST", "/v1/uploads/{id}/complete", file_id=created["id"])
    assert (status, "1, 2, 3" in problem["detail"]) == (409, True)
    (parts,) = objects.parts.values()
    parts |= {part["part_number"]: bytes(part["size"]) for part in upload["parts"]}
    status, file, _ = call("POST", "/v1/uploads/{id}/complete", file_id=created["id"])
    assert (status, file["size"], "status" in file, "upload" in file) == (200, 40 * MEBIBYTE, False, False)
    assert call("GET", "/v1/uploads/{id}", file_id=created["id"])[0] == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filename"),
        ({"filename": "ä" * 200}, "filename"),
        ({"filename": "a", "size": 0}, "size"),
        ({"filename": "a", "size": 10**9}, "size"),
        ({"filename": "a", "key": "outputs/x"}, ""),
        ({"filename": "a", "metadata": {"a": "x" * 17_000}}, "metadata"),
    ],
)
def test_create_upload_rejects_invalid_body_and_names_field(
    call: Call, body: dict[str, Any], field: str
) -> None:
    status, problem, _ = call("POST", "/v1/uploads", body=json.dumps(body))
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)


def test_routes_require_their_scopes(call: Call) -> None:
    assert upload(call, scopes="predictions:read")[0] == 403
    _, created = upload(call)
    requests_without = [
        ("POST", "/v1/uploads", "predictions:read"),
        ("GET", "/v1/uploads/{id}", "predictions:read"),
        ("POST", "/v1/uploads/{id}/complete", "predictions:read"),
        ("DELETE", "/v1/files/{id}", "predictions:read"),
        ("GET", "/v1/files/{id}", "files:write"),
        ("GET", "/v1/files", "files:write"),
    ]
    for method, resource, scopes in requests_without:
        assert call(method, resource, file_id=created["id"], scopes=scopes)[0] == 403


def test_only_downloads_work_without_caller(call: Call) -> None:
    assert call("GET", "/v1/files", tenant=None)[0] == 401
    assert call("POST", "/v1/uploads", body="{}", tenant=None)[0] == 401
