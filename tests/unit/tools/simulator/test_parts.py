"""The parts that need no server: signatures, paging, headers, rules, limits, pictures."""

import asyncio
import base64
import contextlib
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from tools.simulator import clock, ids, signature
from tools.simulator.app import create_app
from tools.simulator.faults.book import FaultBook
from tools.simulator.faults.rules import FaultRule
from tools.simulator.gate import endpoint_of
from tools.simulator.headers import cancel_after, preferred_wait
from tools.simulator.media.pool import build
from tools.simulator.media.spec import MediaSpec
from tools.simulator.problems import ProblemError
from tools.simulator.ratelimit import CreateLimit
from tools.simulator.settings import Knobs, Launch
from tools.simulator.simulator import Simulator
from tools.simulator.store import Prediction, Store


@given(key=st.binary(min_size=24, max_size=64), body=st.text(max_size=200))
def test_every_signature_verifies_with_the_published_library(key: bytes, body: str) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    raw = f'{{"text": "{base64.b64encode(body.encode()).decode()}"}}'.encode()
    headers = signature.headers(secret, "msg_1", int(datetime.now(UTC).timestamp()), raw)
    assert standardwebhooks.Webhook(secret).verify(raw, headers)


@given(st.integers(min_value=1_600_000_000 * clock.NANOSECONDS, max_value=2_000_000_000 * clock.NANOSECONDS))
def test_times_have_3_6_8_or_9_digits_and_read_back(instant: int) -> None:
    text = clock.iso(instant)
    assert len(text.removesuffix("Z").partition(".")[2]) in (3, 6, 8, 9)
    assert timedelta(0) <= timedelta(seconds=(instant - clock.parse_iso(text)) / clock.NANOSECONDS)
    assert instant - clock.parse_iso(text) < 1_000_000


def test_the_digits_of_times_vary() -> None:
    lengths = {len(clock.iso(1_700_000_000 * clock.NANOSECONDS + n * 1000)) for n in range(8)}
    assert lengths == {24, 27, 29, 30}


def filled(count: int) -> Store:
    store = Store()
    for _ in range(count):
        store.add(Prediction(id=ids.prediction_id(), model="a/b", version="v", input={}, created_ns=5))
    return store


@given(count=st.integers(0, 60), size=st.integers(1, 20), since=st.integers(0, 70), until=st.integers(0, 70))
def test_pages_cover_the_filtered_list_once_and_go_back(
    count: int, size: int, since: int, until: int
) -> None:
    store = filled(count)
    expected = [item for item in reversed(store.all()) if since <= item.created_ns < until]
    seen: list[Prediction] = []
    previous: list[Prediction] = []
    start: int | None = None
    while True:
        page = store.page(start=start, since_ns=since, until_ns=until, size=size)
        assert len(page.results) <= size
        if page.previous is not None:
            back = store.page(start=page.previous, since_ns=since, until_ns=until, size=size)
            assert back.results == previous
        seen += page.results
        previous, start = page.results, page.next
        if start is None:
            break
    assert seen == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30", 30), ("30s", 30), ("5m", 300), ("1h30m45s", 5445), ("2h", 7200), ("1m5", 65), (None, None)],
)
def test_cancel_after(value: str | None, seconds: int | None) -> None:
    assert cancel_after(value) == seconds


@given(st.text(max_size=8))
def test_cancel_after_refuses_or_understands_anything(value: str) -> None:
    status, seconds = 422, None
    with contextlib.suppress(ProblemError):
        status, seconds = 201, cancel_after(value)
    assert (status == 422) or (seconds is not None and seconds >= 5)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("wait", 60), ("wait=1", 1), ("wait=60", 60), ("respond-async, wait=7", 7), (None, None)],
)
def test_prefer(value: str | None, seconds: int | None) -> None:
    assert preferred_wait(value) == seconds


def test_a_rule_fires_the_same_way_for_the_same_seed_whatever_else_is_asked() -> None:
    def fired(seed: int, *, noise: bool) -> list[bool]:
        book = FaultBook(seed)
        book.add(FaultRule(endpoint="get", kind="status", probability=0.4))
        book.add(FaultRule(endpoint="list", kind="status", probability=0.5))
        results = []
        for _ in range(50):
            if noise:
                book.draw("list")
            results.append(book.draw("get") is not None)
        return results

    assert fired(1, noise=False) == fired(1, noise=True)
    assert fired(1, noise=False) != fired(2, noise=False)


def test_the_control_api_answers_this_machine_only() -> None:
    app = create_app(Simulator(Launch(url="http://a", third_party_url="http://b"), Knobs()))

    async def status(client: str) -> int:
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as caller:
            return (await caller.get("/_control/health")).status_code

    assert [asyncio.run(status(client)) for client in ("127.0.0.1", "::1", "10.0.0.1")] == [200, 200, 403]


def test_the_first_rule_that_fires_wins_and_spent_ones_give_way() -> None:
    book = FaultBook(0)
    book.add(FaultRule(endpoint="get", kind="status", times=1, after=1))
    book.add(FaultRule(endpoint="any", kind="broken_json", times=2))
    drawn = [book.draw("get") for _ in range(4)]
    assert [rule.kind if rule else None for rule in drawn] == ["broken_json", "status", "broken_json", None]
    assert book.fired == {"broken_json": 2, "status": 1}


def test_a_rule_for_any_endpoint_spares_webhooks() -> None:
    book = FaultBook(0)
    book.add(FaultRule(endpoint="any", kind="status"))
    assert book.draw("webhook", event="completed") is None


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("POST", "/v1/predictions", "create"),
        ("GET", "/v1/models/a/b/versions/c", "model"),
        ("DELETE", "/v1/files/x", "file"),
        ("HEAD", "/delivery/a/0/b.png", "download"),
        ("GET", "/v1/search", "other"),
        ("GET", "/_control/stats", None),
        ("GET", "/stream/x", None),
    ],
)
def test_endpoints_are_told_apart(method: str, path: str, endpoint: str | None) -> None:
    assert endpoint_of(method, path) == endpoint


def test_an_unlimited_account_never_waits_and_a_limited_one_does() -> None:
    free = CreateLimit(Knobs)
    limited = CreateLimit(lambda: Knobs(rate_limit_per_minute=1, rate_limit_burst=1))
    assert [free.wait() for _ in range(1000)] == [None] * 1000
    assert limited.wait() is None
    assert limited.wait() in (59, 60)


def test_a_picture_is_reproducible_and_differs_by_seed() -> None:
    spec = MediaSpec(width=48, height=48)
    assert build(spec, "1").body == build(spec, "1").body
    assert build(spec, "1").body != build(spec, "2").body
