"""Error replies in Replicate's shape: `application/problem+json` with title, detail, status and extras."""

import json
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class InvalidField:
    """One reason of a 422, worded as Replicate's JSON-schema validator words it."""

    type: str
    field: str
    description: str


@dataclass(eq=False)
class ProblemError(Exception):
    """Raised by a route, sent as problem+json."""

    status: int
    detail: str
    title: str | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The reply to send; `title` is left out where Replicate leaves it out."""
        body: dict[str, Any] = {"title": self.title} if self.title else {}
        body |= {"detail": self.detail, "status": self.status, **self.extras}
        return Response(
            json.dumps(body), self.status, headers=self.headers, media_type="application/problem+json"
        )


def unauthenticated() -> ProblemError:
    """401, as recorded."""
    return ProblemError(401, "You did not pass a valid authentication token", "Unauthenticated")


def not_found() -> ProblemError:
    """404 of an unknown resource."""
    return ProblemError(404, "The requested resource could not be found.")


def billing_required() -> ProblemError:
    """402, as recorded."""
    page = "https://replicate.com/account/billing#billing"
    detail = f"You need to set up billing to run this model. Go to {page} to set up billing."
    return ProblemError(402, detail, "Billing required")


def invalid_version() -> ProblemError:
    """422 of an unknown version, as recorded."""
    detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
    return ProblemError(422, detail, "Invalid version or not permitted")


def invalid_input(*reasons: InvalidField) -> ProblemError:
    """422 listing every wrong field, as recorded: the detail has a line `- [field: ]description` for each."""
    lines = [
        f"- {reason.field}: {reason.description}\n" if reason.field else f"- {reason.description}\n"
        for reason in reasons
    ]
    fields = [
        {"type": reason.type, "field": reason.field, "description": reason.description} for reason in reasons
    ]
    return ProblemError(422, "".join(lines), "Input validation failed", {"invalid_fields": fields})


def throttled(retry_after: int | None, *, body: bool = True, header: bool = True) -> ProblemError:
    """429, as recorded; `retry_after` (seconds) goes to the body, the Retry-After header, both or neither."""
    detail = "Request was throttled."
    if retry_after is None:
        return ProblemError(429, detail)
    extras = {"retry_after": retry_after} if body else {}
    headers = {"Retry-After": str(retry_after)} if header else {}
    return ProblemError(429, f"{detail} Your rate limit resets in ~{retry_after}s.", None, extras, headers)
