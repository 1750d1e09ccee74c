"""Tenants with private outputs on the deployed stack: their files open only by signed URLs that expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from replicate_proxy.outputs.private_urls import PrivateUrlSigner
from tests.integration.api_client import ApiClient
from tests.integration.conftest import FOLDER
from tests.integration.event_streams import read_events
from tests.integration.models import FLUX, SMALL_IMAGE_INPUT
from tests.integration.receiver import run_receiver
from tests.integration.test_deletion import list_objects_of
from tests.support.clock import FakeClock
from tools.chaos.background import invoke_sweep
from tools.local.stack import Stack
from tools.local.url_keys import ensure_private_key, get_public_key
from tools.local.waiting import wait_for

# Functions see a changed setting of a tenant after a minute.
SETTINGS_CACHE_SECONDS = 61.0


@pytest.fixture
def private_api(api: ApiClient, operator: ApiClient) -> ApiClient:
    """A client of a new tenant with private outputs."""
    switch(operator, api, is_private=True)
    return api


def switch(operator: ApiClient, api: ApiClient, *, is_private: bool) -> None:
    body = {"private_outputs": is_private}
    response = operator.call_until_available("PUT", f"/admin/tenants/{api.tenant}", body)
    assert response.json()["private_outputs"] is is_private, response.text


def fetch(url: str) -> requests.Response:
    return requests.get(url, timeout=60, allow_redirects=False)


def get_expiry(url: str) -> datetime:
    return datetime.fromtimestamp(int(parse_qs(urlsplit(url).query)["Expires"][0]), UTC)


def strip_query(url: str) -> str:
    return url.partition("?")[0]


def test_private_picture_and_thumbnail_open_by_signed_urls_only(stack: Stack, private_api: ApiClient) -> None:
    prediction = private_api.run(FLUX, SMALL_IMAGE_INPUT)
    [output_url], [file] = prediction["output"], prediction["proxy"]["files"]

    assert output_url.startswith(f"{stack.cdn_url}/private/")
    assert strip_query(file["url"]) == strip_query(output_url)
    for url in (output_url, file["url"], file["thumbnail_url"]):
        response = fetch(url)
        assert (response.status_code, response.headers["content-type"]) == (200, "image/webp")
        assert response.headers["cache-control"].startswith("private")
        refused = fetch(strip_query(url))
        assert (refused.status_code, "<Code>MissingKey</Code>" in refused.text) == (403, True)
    assert fetch(f"{stack.cdn_url}/{file['original_key']}").status_code == 403


def test_altered_expired_and_transferred_signatures_are_refused(private_api: ApiClient) -> None:
    prediction = private_api.run(FLUX, SMALL_IMAGE_INPUT)
    [url], [file] = prediction["output"], prediction["proxy"]["files"]
    address, _, query = url.partition("?")
    private_key = ensure_private_key(FOLDER)
    signer = PrivateUrlSigner(
        key_id=parse_qs(query)["Key-Pair-Id"][0],
        public_key=get_public_key(private_key),
        read_private_key=lambda: private_key,
        lifetime_seconds=60,
        clock=FakeClock(datetime.now(UTC) - timedelta(seconds=61)),
    )
    folder = "/".join(urlsplit(address).path.split("/")[1:4]) + "/"
    expires = parse_qs(query)["Expires"][0]
    encoded = address.replace("/private/", "/%70rivate/")

    refused = [
        url.replace(f"Expires={expires}", f"Expires={int(expires) + 3600}"),
        url[:-1],
        f"{file['thumbnail_url'].partition('?')[0]}?{query}",
        signer.sign_urls(address, folder),
        encoded,
        address.replace("/private/", "//private/"),
        address.replace("/private/", "/outputs/../private/"),
    ]

    assert [fetch(one).status_code for one in refused] == [403] * len(refused)
    assert fetch(url).status_code == 200


def test_every_response_has_fresh_urls(private_api: ApiClient) -> None:
    body = {"version": FLUX, "input": SMALL_IMAGE_INPUT}
    created = private_api.call_until_available(
        "POST", "/v1/predictions", body, headers={"prefer": "wait=20"}
    ).json()
    prediction = private_api.wait_until_finished(created["id"])
    time.sleep(2)

    again = private_api.get(created["id"])
    listed = private_api.call_until_available("GET", "/v1/predictions").json()["results"][0]

    urls = [view["output"][0] for view in (prediction, again, listed)]
    if created["status"] == "succeeded":
        urls.append(created["output"][0])
    assert len({strip_query(url) for url in urls}) == 1
    assert get_expiry(again["output"][0]) > get_expiry(prediction["output"][0])
    assert [fetch(url).status_code for url in urls] == [200] * len(urls)
    lifetime = get_expiry(again["output"][0]) - datetime.now(UTC)
    assert timedelta(minutes=58) < lifetime <= timedelta(minutes=60)


def test_webhook_and_stored_stream_have_urls_that_open(private_api: ApiClient) -> None:
    with run_receiver() as receiver:
        created = private_api.create(
            FLUX, SMALL_IMAGE_INPUT, webhook=receiver.url, webhook_events_filter=["completed"]
        )
        [request] = receiver.wait_for(lambda requests: len(requests) == 1, "the webhook")
    body = request.prediction
    prediction = private_api.get(created["id"])

    [url], [file] = body["output"], body["proxy"]["files"]
    assert timedelta(hours=23, minutes=58) < get_expiry(url) - datetime.now(UTC) <= timedelta(hours=24)
    assert [fetch(one).status_code for one in (url, file["url"], file["thumbnail_url"])] == [200] * 3
    assert fetch(strip_query(url)).status_code == 403
    [streamed] = [event.data for event in read_events(prediction["urls"]["stream"]) if event.name == "output"]
    assert (strip_query(streamed), fetch(streamed).status_code) == (strip_query(url), 200)


def test_signed_url_is_an_input_of_another_prediction(private_api: ApiClient) -> None:
    [url] = private_api.run(FLUX, SMALL_IMAGE_INPUT)["output"]

    second = private_api.run(FLUX, {**SMALL_IMAGE_INPUT, "image": url})

    assert (second["status"], second["input"]["image"]) == ("succeeded", url)


@pytest.mark.slow
def test_deletion_removes_private_files(stack: Stack, private_api: ApiClient) -> None:
    prediction = private_api.run(FLUX, SMALL_IMAGE_INPUT)
    [url] = prediction["output"]
    assert list_objects_of(stack, prediction)

    assert private_api.call("DELETE", f"/v1/predictions/{prediction['id']}").status_code == 204

    def is_empty() -> bool:
        invoke_sweep(stack)
        return not list_objects_of(stack, prediction)

    wait_for(is_empty, timeout_seconds=240, description="the end of the objects")
    assert fetch(url).status_code in {403, 404}


@pytest.mark.slow
def test_switching_applies_to_files_stored_from_then_on(
    stack: Stack, api: ApiClient, operator: ApiClient, make_api: Callable[[], ApiClient]
) -> None:
    predictions: list[dict[str, Any]] = [api.run(FLUX, SMALL_IMAGE_INPUT)]
    for is_private in (True, False):
        switch(operator, api, is_private=is_private)
        time.sleep(SETTINGS_CACHE_SECONDS)
        predictions.append(api.run(FLUX, SMALL_IMAGE_INPUT))
    other = make_api().run(FLUX, SMALL_IMAGE_INPUT)

    first, private, last = (api.get(prediction["id"])["output"][0] for prediction in predictions)
    for url in (first, last, other["output"][0]):
        assert url.startswith(f"{stack.cdn_url}/outputs/")
        assert fetch(url).status_code == 200
    assert private.startswith(f"{stack.cdn_url}/private/")
    assert [fetch(private).status_code, fetch(strip_query(private)).status_code] == [200, 403]
    target = f"tenants/{api.tenant}"
    audited = operator.call_until_available("GET", f"/admin/audit?target={target}").json()["results"]
    assert [record["after"]["private_outputs"] for record in audited] == [False, True]
