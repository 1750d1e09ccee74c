"""Routes below `/v1/webhooks/{proxy+}`: API Gateway matches one path, we match the rest. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["with_resource"]

_BASE = "/v1/webhooks/"


def with_resource(event: Mapping[str, Any], resources: Iterable[str]) -> Mapping[str, Any]:
    """The event as if API Gateway had matched the fitting resource; unchanged, so a 404, where none fits."""
    if event.get("resource") != _BASE + "{proxy+}":
        return event
    parts = str((event.get("pathParameters") or {}).get("proxy") or "").split("/")
    for resource in resources:
        params = _matched(resource.removeprefix(_BASE).split("/"), parts)
        if params is not None:
            return {**event, "resource": resource, "pathParameters": params}
    return event


def _matched(template: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(template) != len(parts) or not all(parts):
        return None
    pairs = list(zip(template, parts, strict=True))
    if any(wanted != part for wanted, part in pairs if not wanted.startswith("{")):
        return None
    return {wanted.strip("{}"): part for wanted, part in pairs if wanted.startswith("{")}
