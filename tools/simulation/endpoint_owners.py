"""The owners of webhook endpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError, ProxyError
from tools.simulation.functions.deliveries import build_endpoints
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    import random

    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World


class EndpointOwners:
    """Register endpoints, and disable, enable and redeliver while deliveries to them are made."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants

    def run(self, tenant: str) -> None:
        source = self._random
        endpoints = build_endpoints(self._world.components)
        try:
            endpoint = self._world.call_function(
                "endpoints", lambda: endpoints.service.create(tenant, url=build_endpoint_url(tenant))
            )
        except (ProxyError, ProcessEndedError):
            return
        self._invariants.endpoints[tenant, endpoint.id] = True
        for _ in range(source.randint(0, 4)):
            self._world.scheduler.sleep(source.expovariate(1 / 300))
            self._act_on_endpoint(tenant, endpoint.id)
        if source.random() < 0.5:
            self._toggle_endpoint(tenant, endpoint.id)
        # Whatever disabled it, the owner enables it at the end and asks for what was missed.
        self._world.scheduler.sleep(max(0.0, self._world.plan.quiet_from + 60 - self._world.scheduler.now))
        self._enable(tenant, endpoint.id)

    def _toggle_endpoint(self, tenant: str, endpoint_id: str) -> None:
        """Disable and enable the endpoint again and again, while deliveries to it are made."""
        service = build_endpoints(self._world.components).service
        for _ in range(30):
            try:
                self._world.call_function(
                    "endpoints", lambda: service.update(tenant, endpoint_id, enabled=False)
                )
            except (ProxyError, ProcessEndedError):
                continue
            self._world.scheduler.sleep(self._random.expovariate(1 / 10))
            self._enable(tenant, endpoint_id)
            self._world.scheduler.sleep(self._random.expovariate(1 / 20))

    def _act_on_endpoint(self, tenant: str, endpoint_id: str) -> None:
        action = self._random.choice(("disable", "enable", "rotate", "rotate_default", "redeliver"))
        endpoints = build_endpoints(self._world.components)
        service = endpoints.service

        def act() -> None:
            if action == "disable":
                service.update(tenant, endpoint_id, enabled=False)
            elif action == "rotate":
                service.rotate_secret(tenant, endpoint_id, timedelta(hours=1))
            elif action == "rotate_default":
                service.rotate_default_secret(tenant, timedelta(hours=1))
            elif action == "redeliver":
                since = self._world.clock.now() - timedelta(hours=1)
                endpoints.redelivery.redeliver_all_failed(tenant, since)

        try:
            if action == "enable":
                self._enable(tenant, endpoint_id)
            else:
                self._world.call_function("endpoints", act)
        except (ProxyError, ConflictError, ProcessEndedError):
            return

    def _enable(self, tenant: str, endpoint_id: str) -> None:
        """Enable as the route does: then what was missed is sent."""
        endpoints = build_endpoints(self._world.components)

        def enable() -> None:
            before = endpoints.service.get(tenant, endpoint_id)
            enabled = endpoints.service.enable(tenant, endpoint_id)
            if before.missed_since is not None:
                endpoints.redelivery.redeliver_missed(enabled, before.missed_since)

        for _ in range(5):
            try:
                self._world.call_function("endpoints", enable)
            except (ProxyError, ProcessEndedError):
                self._world.scheduler.sleep(5.0)
                continue
            return

    @property
    def _random(self) -> random.Random:
        actor = self._world.scheduler.actor
        return actor.random


def build_endpoint_url(tenant: str) -> str:
    return f"https://{tenant}.test/endpoint"
