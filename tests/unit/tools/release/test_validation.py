"""Each check fails for a service that has the corresponding fault."""

from __future__ import annotations

from typing import Any

import pytest
import responses

from tools.release.__main__ import main
from tools.release.validation import CheckResult, Validation

URL = "https://api.example.com/prod"
CREATE_URL = f"{URL}/v1/models/o/m/predictions"
FILE_URL = "https://files.example.com/outputs/x.webp"
REPLICATE_FILE_URL = "https://replicate.delivery/x.webp"
CREATED: dict[str, Any] = {"id": "job1", "status": "starting", "urls": {"get": f"{URL}/v1/predictions/job1"}}
SUCCEEDED = CREATED | {
    "status": "succeeded",
    "output": [FILE_URL],
    "proxy": {"report_channel": "webhook"},
}
POLLED = SUCCEEDED | {"proxy": {"report_channel": "poll"}}
VALID_RESPONSES: dict[str, tuple[int, Any]] = {
    "health": (200, {"status": "ok", "version": "1.2.3"}),
    "invalid key": (401, {}),
    "invalid input": (422, {"invalid_fields": [{"field": "webhook"}]}),
    "create": (201, CREATED),
    "list": (200, {"results": [SUCCEEDED]}),
    # A read by ID makes the stack ask Replicate, which hides whether webhooks arrive.
    "get": (500, {}),
    "repeated create": (200, SUCCEEDED),
    "file": (200, {}),
}
REQUESTS = (
    ("GET", f"{URL}/health", ["health"]),
    ("GET", f"{URL}/v1/predictions", ["invalid key", "invalid key", "list"]),
    ("POST", CREATE_URL, ["invalid input", "create", "repeated create"]),
    ("GET", f"{URL}/v1/predictions/job1", ["get"]),
    ("GET", FILE_URL, ["file"]),
)
"""(method, URL, names of the successive responses)."""


def _list(prediction: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"results": [CREATED | {"id": "another"}, prediction]}


def _validate(
    changes: dict[str, tuple[int, Any]], *, expects_webhook: bool = True, timeout_seconds: float = 300
) -> list[CheckResult]:
    """Validate a service that returns the valid responses with some of them changed."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method, url, names in REQUESTS:
            for name in names:
                status, body = (VALID_RESPONSES | changes)[name]
                mock.add(method, url, status=status, json=body)
        validation = Validation(
            URL,
            "rp_key",
            "o/m",
            "a prompt",
            timeout_seconds=timeout_seconds,
            expects_webhook=expects_webhook,
            sleep=lambda _: None,
        )
        return list(validation.run())


def test_all_checks_pass_for_a_valid_service() -> None:
    assert [result.passed for result in _validate({})] == [True] * 7


def test_webhook_is_not_checked_when_none_is_expected() -> None:
    results = _validate({"list": _list(POLLED)}, expects_webhook=False)
    assert [result.passed for result in results] == [True] * 6


@pytest.mark.parametrize(
    ("name", "response", "failed_check"),
    [
        ("health", (500, {}), "the API responds"),
        ("invalid key", _list(SUCCEEDED), "requests without a valid key are rejected"),
        ("invalid input", (500, {}), "invalid input is rejected with the name of the field"),
        ("invalid input", (422, {}), "invalid input is rejected with the name of the field"),
        ("create", (503, {}), "a prediction succeeds"),
        ("list", _list(SUCCEEDED | {"status": "failed", "error": "no"}), "a prediction succeeds"),
        ("list", (404, {}), "a prediction succeeds"),
        ("list", (200, {"results": []}), "a prediction succeeds"),
        (
            "repeated create",
            (200, SUCCEEDED | {"id": "job2"}),
            "a repeated request creates no second prediction",
        ),
        ("repeated create", (409, {}), "a repeated request creates no second prediction"),
        ("file", (403, {}), "outputs are stored and served by the stack"),
        (
            "list",
            _list(SUCCEEDED | {"output": REPLICATE_FILE_URL}),
            "outputs are stored and served by the stack",
        ),
        ("list", _list(POLLED), "Replicate's webhook was received"),
    ],
)
def test_only_the_check_of_the_fault_fails(name: str, response: tuple[int, Any], failed_check: str) -> None:
    results = _validate({name: response})
    assert [result.expectation for result in results if not result.passed] == [failed_check]


def test_prediction_that_the_list_does_not_show_is_read_by_its_id() -> None:
    results = _validate({"list": (200, {"results": []}), "get": (200, SUCCEEDED)})
    assert [result.passed for result in results] == [True] * 7


def test_prediction_check_fails_after_timeout() -> None:
    results = _validate({"list": _list(CREATED)}, timeout_seconds=0)
    assert results[-1] == CheckResult(
        "a prediction succeeds", passed=False, detail="still starting after 0 s"
    )


def test_validation_stops_when_the_api_does_not_respond() -> None:
    with responses.RequestsMock():
        results = list(Validation(URL, "rp_key", "o/m", "a prompt").run())

    assert [str(result) for result in results] == [
        f"✗ the API responds: no response of {URL}: ConnectionError"
    ]


@pytest.mark.parametrize("url", ["garbage", "", "ftp://x", "https://", "api.example.com/prod"])
def test_validate_refuses_what_is_not_a_url(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROXY_API_KEY", "rp_key")

    assert main(["validate", "--url", url]) == 2
    assert capsys.readouterr().err.startswith(f"not a URL: {url.rstrip('/')}; set URL to the stack output")
