"""The users of the load test. Locust loads this file; `python -m tools.load` runs locust."""

from __future__ import annotations

import random
import time
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from locust import HttpUser, LoadTestShape, constant_throughput, events, task

from tools.load.scenarios import SCENARIOS, USERS_PER_CREATE
from tools.load.settings import LoadSettings

if TYPE_CHECKING:
    from locust.env import Environment

_TIMEOUT_SECONDS = 60
_PROGRESS_SECONDS = 5
_REMEMBERED_IDS = 20
_LIST_SHARE = 0.2
_SETTINGS = LoadSettings.from_env()
_SCENARIO = SCENARIOS[_SETTINGS.scenario]
_KEYS = _SCENARIO.choose_tenants(_SETTINGS.keys)
_numbers = count()


class Application(HttpUser):
    """Creates predictions and reads them, with the key of one tenant."""

    host = _SETTINGS.url
    wait_time = constant_throughput((1 + _SCENARIO.reads) / USERS_PER_CREATE)

    def on_start(self) -> None:
        key = _KEYS[next(_numbers) % len(_KEYS)]
        self._key_number = _SETTINGS.keys.index(key)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._ids: list[str] = []

    @task(1)
    def create(self) -> None:
        body = {"version": _SETTINGS.model, "input": _SETTINGS.input}
        with self._request("POST", "/v1/predictions", "create", json=body) as response:
            if response.status_code not in {HTTPStatus.CREATED, HTTPStatus.ACCEPTED}:
                response.failure(f"status {response.status_code}")
                return
            prediction_id = response.json()["id"]
        self._ids = [*self._ids[1 - _REMEMBERED_IDS :], prediction_id]
        with Path(_SETTINGS.accepted_file).open("a", encoding="utf-8") as file:
            file.write(f"{self._key_number} {prediction_id}\n")

    @task(_SCENARIO.reads)
    def read(self) -> None:
        if self._ids and random.random() > _LIST_SHARE:  # noqa: S311 - no secret
            path, name = f"/v1/predictions/{random.choice(self._ids)}", "get"  # noqa: S311 - no secret
        else:
            path, name = "/v1/predictions", "list"
        with self._request("GET", path, name) as response:
            if response.status_code != HTTPStatus.OK:
                response.failure(f"status {response.status_code}")

    def _request(self, method: str, path: str, name: str, **options: Any) -> Any:
        return self.client.request(
            method,
            path,
            name=name,
            headers=self._headers,
            timeout=_TIMEOUT_SECONDS,
            catch_response=True,
            **options,
        )


class Shape(LoadTestShape):
    """As many users as the scenario says, until its time is up."""

    def tick(self) -> tuple[int, float] | None:
        elapsed = self.get_run_time()
        if elapsed > _SETTINGS.seconds:
            return None
        users = _SCENARIO.count_users(_SETTINGS.rate, elapsed)
        return users, float(users)


@events.init.add_listener
def _start_progress(environment: Environment, **_: Any) -> None:
    gevent.spawn(_print_progress, environment)


def _print_progress(environment: Environment) -> None:
    started_at = time.monotonic()
    while True:
        gevent.sleep(_PROGRESS_SECONDS)
        elapsed = time.monotonic() - started_at
        total, created = environment.stats.total, environment.stats.get("create", "POST")
        accepted = created.num_requests - created.num_failures
        users = environment.runner.user_count if environment.runner else 0
        p95 = created.get_response_time_percentile(0.95) or 0
        print(
            f"{elapsed:4.0f} s  {users:3} users  {accepted:5} accepted  {total.num_requests:6} requests  "
            f"{total.num_failures:4} errors  create p95 {p95:.0f} ms",
            flush=True,
        )
