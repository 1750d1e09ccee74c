"""Components that need no running server: signatures, timestamps, paging, headers, rules, limits, media."""

import asyncio
import base64
import contextlib
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from tools.simulator.create_request import parse_cancel_after, parse_prefer_wait
from tools.simulator.faults import FaultRule, FaultRules
from tools.simulator.media.spec import MediaSpec
from tools.simulator.middleware import CreateRateLimiter, classify_endpoint
from tools.simulator.output_files import generate_content
from tools.simulator.predictions import Prediction, PredictionStore
from tools.simulator.problems import ProblemError
from tools.simulator.randomness import generate_prediction_id
from tools.simulator.server import create_app
from tools.simulator.settings import LaunchOptions, Settings
from tools.simulator.simulator import Simulator
from tools.simulator.timestamps import NANOSECONDS_PER_SECOND, format_timestamp, parse_timestamp
from tools.simulator.webhooks import build_signature_headers


@given(key=st.binary(min_size=24, max_size=64), text=st.text(max_size=200))
def test_signature_verifies_with_published_library(key: bytes, text: str) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    body = f'{{"text": "{base64.b64encode(text.encode()).decode()}"}}'.encode()
    headers = build_signature_headers(secret, "msg_1", int(datetime.now(UTC).timestamp()), body)
    assert standardwebhooks.Webhook(secret).verify(body, headers)


@given(
    st.integers(
        min_value=1_600_000_000 * NANOSECONDS_PER_SECOND, max_value=2_000_000_000 * NANOSECONDS_PER_SECOND
    )
)
def test_timestamp_has_3_6_8_or_9_digits_and_parses_back(instant: int) -> None:
    text = format_timestamp(instant)
    assert len(text.removesuffix("Z").partition(".")[2]) in (3, 6, 8, 9)
    assert timedelta(0) <= timedelta(seconds=(instant - parse_timestamp(text)) / NANOSECONDS_PER_SECOND)
    assert instant - parse_timestamp(text) < 1_000_000


def test_timestamps_vary_in_number_of_digits() -> None:
    lengths = {len(format_timestamp(1_700_000_000 * NANOSECONDS_PER_SECOND + n * 1000)) for n in range(8)}
    assert lengths == {24, 27, 29, 30}


def create_store(count: int) -> PredictionStore:
    store = PredictionStore()
    for _ in range(count):
        store.add(
            Prediction(
                id=generate_prediction_id(), account="local", model="a/b", version="v", input={}, created_ns=5
            )
        )
    return store


@given(count=st.integers(0, 60), size=st.integers(1, 20), since=st.integers(0, 70), until=st.integers(0, 70))
def test_pages_cover_filtered_list_once_in_both_directions(
    count: int, size: int, since: int, until: int
) -> None:
    store = create_store(count)
    expected = [item for item in reversed(store.list_all()) if since <= item.created_ns < until]
    seen: list[Prediction] = []
    previous_results: list[Prediction] = []
    start: int | None = None
    while True:
        page = store.read_page("local", start=start, since_ns=since, until_ns=until, size=size)
        assert len(page.results) <= size
        if page.previous is not None:
            previous = store.read_page(
                "local", start=page.previous, since_ns=since, until_ns=until, size=size
            )
            assert previous.results == previous_results
        seen += page.results
        previous_results, start = page.results, page.next
        if start is None:
            break
    assert seen == expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("30s", 30), ("5m", 300), ("1h30m45s", 5445), ("2h", 7200), ("1m5", 65), (None, None)],
)
def test_cancel_after_is_parsed_to_seconds(header: str | None, seconds: int | None) -> None:
    assert parse_cancel_after(header) == seconds


@given(st.text(max_size=8))
def test_cancel_after_with_any_text_is_parsed_or_rejected(header: str) -> None:
    status, seconds = 422, None
    with contextlib.suppress(ProblemError):
        status, seconds = 201, parse_cancel_after(header)
    assert (status == 422) or (seconds is not None and seconds >= 5)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("wait", 60), ("wait=1", 1), ("wait=60", 60), ("respond-async, wait=7", 7), (None, None)],
)
def test_prefer_wait_is_parsed_to_seconds(header: str | None, seconds: int | None) -> None:
    assert parse_prefer_wait(header) == seconds


def test_fault_rule_with_same_seed_fires_the_same_way_whatever_other_calls_come() -> None:
    def record_firing(seed: int, *, with_other_calls: bool) -> list[bool]:
        rules = FaultRules(seed)
        rules.add(FaultRule(endpoint="get", kind="status", probability=0.4))
        rules.add(FaultRule(endpoint="list", kind="status", probability=0.5))
        fired = []
        for _ in range(50):
            if with_other_calls:
                rules.choose("list")
            fired.append(rules.choose("get") is not None)
        return fired

    assert record_firing(1, with_other_calls=False) == record_firing(1, with_other_calls=True)
    assert record_firing(1, with_other_calls=False) != record_firing(2, with_other_calls=False)


def test_control_api_rejects_clients_on_other_machines() -> None:
    launch = LaunchOptions(public_url="http://a", third_party_url="http://b")
    app = create_app(Simulator(launch, Settings()))

    async def get_status(client_address: str) -> int:
        transport = httpx.ASGITransport(app, client=(client_address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            return (await client.get("/_control/health")).status_code

    statuses = [asyncio.run(get_status(address)) for address in ("127.0.0.1", "::1", "10.0.0.1")]
    assert statuses == [200, 200, 403]


def test_first_fault_rule_that_fires_is_chosen_and_exhausted_rules_are_skipped() -> None:
    rules = FaultRules(0)
    rules.add(FaultRule(endpoint="get", kind="status", times=1, after=1))
    rules.add(FaultRule(endpoint="any", kind="broken_json", times=2))
    chosen = [rules.choose("get") for _ in range(4)]
    assert [rule.kind if rule else None for rule in chosen] == ["broken_json", "status", "broken_json", None]
    assert rules.fired_by_kind == {"broken_json": 2, "status": 1}


def test_fault_rule_for_any_endpoint_spares_webhooks() -> None:
    rules = FaultRules(0)
    rules.add(FaultRule(endpoint="any", kind="status"))
    assert rules.choose("webhook", event="completed") is None


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("POST", "/v1/predictions", "create"),
        ("GET", "/v1/models/a/b/versions/c", "model"),
        ("DELETE", "/v1/files/x", "file"),
        ("HEAD", "/delivery/a/0/b.png", "download"),
        ("GET", "/v1/search", "other"),
        ("GET", "/_control/stats", None),
        ("GET", "/v1/streams/x", "stream"),
        ("GET", "/v1/files/stream-x", "stream"),
    ],
)
def test_call_is_classified_by_method_and_path(method: str, path: str, endpoint: str | None) -> None:
    assert classify_endpoint(method, path) == endpoint


def test_rate_limiter_limits_creates_only_when_configured() -> None:
    unlimited = CreateRateLimiter(Settings)
    limited = CreateRateLimiter(lambda: Settings(rate_limit_per_minute=1, rate_limit_burst=1))
    assert [unlimited.take_token() for _ in range(1000)] == [None] * 1000
    assert limited.take_token() is None
    assert limited.take_token() in (59, 60)


def test_generated_image_is_reproducible_and_differs_by_seed() -> None:
    spec = MediaSpec(width=48, height=48)
    assert generate_content(spec, "1").body == generate_content(spec, "1").body
    assert generate_content(spec, "1").body != generate_content(spec, "2").body
