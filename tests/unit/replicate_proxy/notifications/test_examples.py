"""The receivers in examples/ take what is really sent to them over HTTP, once each, and refuse forgeries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pytest

from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.notifications.sender import GuardedSender, Session
from tests.support.deliveries import TENANT, World, make_job, processing, succeeded

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[4]
NODE_MODULES = ROOT / "tests/integration/clients_js/node_modules"
RECEIVERS = ["python", "javascript"]


def command(language: str) -> list[str]:
    if language == "python":
        return [sys.executable, str(ROOT / "examples/receiver_python/receiver.py")]
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "replicate").is_dir():
        pytest.skip("NOT CHECKED: the JavaScript receiver; needs node and `make clients-js`")
    return [node, str(ROOT / "examples/receiver_javascript/receiver.cjs")]


@contextmanager
def running(language: str, secret: str) -> Iterator[tuple[str, IO[str]]]:
    """The receiver's address and what it prints."""
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "PORT": "0", "NODE_PATH": str(NODE_MODULES)}
    with subprocess.Popen(
        command(language),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removeprefix("listening on "), process.stdout
        finally:
            process.terminate()


@pytest.mark.parametrize("language", RECEIVERS)
def test_a_receiver_gets_every_event_once(language: str) -> None:
    session = GuardedSession(AddressPolicy(allow_loopback=True), connect_timeout=3.0, read_timeout=15.0)
    sender = GuardedSender(cast("Session", session), timeout=15.0, answer_limit=8192)
    world = World(sender=sender, start=datetime.now(UTC))
    secret = world.secrets.of(TENANT, now=world.clock.now())[0].text

    with running(language, secret) as (url, printed):
        job = make_job(webhook=url, webhook_events=("start", "output", "completed"))
        started = processing(job)
        world.happen((job, started), (started, succeeded(started)))
        world.run()
        for delivery in world.outbox.of_job(TENANT, job.id):
            # As after a lost answer: the same id and bytes once more.
            world.redelivery.one(TENANT, delivery.id)
        world.run()
        told = [json.loads(printed.readline()) for _ in range(3)]
        attempts = [each.status for each in world.outbox.attempts_of_job(TENANT, job.id)]

        assert attempts == [204] * 6

    assert [line["event"] for line in told] == ["start", "output", "completed"]
    assert told[-1] == {
        "event": "completed",
        "id": job.id,
        "status": "succeeded",
        "output": ["https://cdn.example/outputs/1.webp"],
    }


@pytest.mark.parametrize("language", RECEIVERS)
def test_a_receiver_refuses_what_is_not_signed(language: str) -> None:
    with running(language, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") as (url, _):
        request = urllib.request.Request(  # noqa: S310 - our own loopback server
            url,
            data=b"{}",
            headers={
                "webhook-id": "msg_1",
                "webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
                "webhook-signature": "v1,AAAA",
            },
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)  # noqa: S310
        refused.value.close()
    assert refused.value.code == 400


@pytest.mark.parametrize("name", ["receiver_python/receiver.py", "receiver_javascript/receiver.cjs"])
def test_the_examples_stay_under_forty_lines(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) < 40
