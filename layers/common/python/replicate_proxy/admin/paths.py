"""Routes below `/admin/{proxy+}`: API Gateway matches one path, we match the rest. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["with_resource"]

_CATCH_ALL = "/admin/{proxy+}"


def with_resource(event: Mapping[str, Any], resources: Iterable[str]) -> Mapping[str, Any]:
    """The event as if API Gateway had matched the fitting one of `resources`, such as `/admin/keys/{id}`.

    Unchanged where none fits: then no route is found and the answer is 404.
    """
    if event.get("resource") != _CATCH_ALL:
        return event
    parts = str((event.get("pathParameters") or {}).get("proxy") or "").split("/")
    for resource in resources:
        params = _matched(resource.removeprefix("/admin/").split("/"), parts)
        if params is not None:
            return {**event, "resource": resource, "pathParameters": params}
    return event


def _matched(template: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(template) != len(parts) or not all(parts):
        return None
    params: dict[str, str] = {}
    for wanted, part in zip(template, parts, strict=True):
        if wanted.startswith("{"):
            params[wanted.strip("{}")] = part
        elif wanted != part:
            return None
    return params
