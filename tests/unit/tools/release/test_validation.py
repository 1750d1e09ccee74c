"""Each promise can be seen to be broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import responses

from tools.release.validation import Check, Validation

URL = "https://api.example.com/prod"
CREATE = f"{URL}/v1/models/o/m/predictions"
FILE = "https://files.example.com/outputs/x.webp"
THEIRS = "https://replicate.delivery/x.webp"
RUNNING: dict[str, Any] = {"id": "job1", "status": "starting", "urls": {"get": f"{URL}/v1/predictions/job1"}}
DONE = RUNNING | {"status": "succeeded", "output": [FILE], "proxy": {"report_channel": "webhook"}}

type Break = Callable[[dict[str, Any]], None]


def service() -> dict[str, Any]:
    """What a service that holds answers, by question: (status, body)."""
    return {
        "health": (200, {"status": "ok", "version": "1.2.3"}),
        "keyless": (401, {}),
        "nonsense": (422, {"invalid_fields": [{"field": "webhook"}]}),
        "create": (201, RUNNING),
        "get": (200, DONE),
        "again": (200, DONE),
        "file": (200, {}),
    }


def run(answers: dict[str, Any], *, polling: bool = False, patience: float = 300) -> list[Check]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as web:
        for method, url, names in (
            ("GET", f"{URL}/health", ["health"]),
            ("GET", f"{URL}/v1/predictions", ["keyless"]),
            ("POST", CREATE, ["nonsense", "create", "again"]),
            ("GET", f"{URL}/v1/predictions/job1", ["get"]),
            ("GET", FILE, ["file"]),
        ):
            for name in names:
                status, body = answers[name]
                web.add(method, url, status=status, json=body)
        validation = Validation(
            URL, "rp_key", "o/m", "a prompt", patience=patience, polling=polling, pause=lambda _: None
        )
        return list(validation.run())


def test_a_service_that_holds_keeps_all_promises() -> None:
    checks = run(service())
    assert [check.kept for check in checks] == [True] * 7


def test_without_webhooks_nobody_has_to_hear_them() -> None:
    answers = service() | {"get": (200, DONE | {"proxy": {"report_channel": "poll"}})}
    assert [check.kept for check in run(answers, polling=True)] == [True] * 6


@pytest.mark.parametrize(
    ("question", "answer", "broken"),
    [
        ("health", (500, {}), "it answers"),
        ("keyless", (200, {}), "nobody gets in without a key"),
        ("nonsense", (500, {}), "bad input is refused, and the refusal names the field"),
        ("nonsense", (422, {}), "bad input is refused, and the refusal names the field"),
        ("create", (503, {}), "a prediction succeeds"),
        ("get", (200, DONE | {"status": "failed", "error": "no"}), "a prediction succeeds"),
        ("get", (404, {}), "a prediction succeeds"),
        ("again", (200, DONE | {"id": "job2"}), "the same request is not paid again"),
        ("again", (409, {}), "the same request is not paid again"),
        ("file", (403, {}), "its outputs are kept here and answer"),
        ("get", (200, DONE | {"output": THEIRS}), "its outputs are kept here and answer"),
        ("get", (200, DONE | {"proxy": {"report_channel": "poll"}}), "Replicate's webhook was heard"),
    ],
)
def test_a_broken_promise_is_named(question: str, answer: Any, broken: str) -> None:
    checks = run(service() | {question: answer})
    assert [check.promise for check in checks if not check.kept] == [broken]


def test_patience_ends() -> None:
    checks = run(service() | {"get": (200, RUNNING)}, patience=0)
    assert checks[-1] == Check("a prediction succeeds", kept=False, seen="still starting after 0 s")


def test_nobody_there_breaks_every_promise() -> None:
    with responses.RequestsMock():
        checks = list(Validation(URL, "rp_key", "o/m", "a prompt").run())
    assert {(check.kept, check.seen) for check in checks} == {(False, "ConnectionError")}
