"""Match requests under an API Gateway catch-all resource (`/admin/{proxy+}`) to route templates. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_CATCH_ALL = "{proxy+}"


def with_resource(event: Mapping[str, Any], resources: Iterable[str]) -> Mapping[str, Any]:
    """Return the event as if API Gateway had matched the one of `resources` that fits the path.

    `resources` are templates such as `/admin/keys/{id}`. The event is unchanged where none fits: no route is
    found then, and the answer is 404.
    """
    catch_all = str(event.get("resource") or "")
    if not catch_all.endswith(_CATCH_ALL):
        return event
    base = catch_all.removesuffix(_CATCH_ALL)
    parts = str((event.get("pathParameters") or {}).get("proxy") or "").split("/")
    for resource in resources:
        params = _matched(resource.removeprefix(base).split("/"), parts)
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
