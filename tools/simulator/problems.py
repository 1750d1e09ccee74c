"""Error responses in Replicate's format: `application/problem+json` with title, detail, status and extras.

"As recorded" marks responses that repeat what api.replicate.com was seen to answer.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class InvalidField:
    """One reason of a 422, in the words of Replicate's JSON-schema validator."""

    type: str
    field: str
    description: str


@dataclass(eq=False)
class ProblemError(Exception):
    """Raised by a route; sent as problem+json."""

    status: int
    detail: str
    title: str | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def build_response(self) -> Response:
        """Return the HTTP response. It has no `title` where Replicate sends none."""
        body: dict[str, Any] = {"title": self.title} if self.title else {}
        body |= {"detail": self.detail, "status": self.status, **self.extras}
        return Response(
            json.dumps(body), self.status, headers=self.headers, media_type="application/problem+json"
        )


def unauthenticated_error() -> ProblemError:
    """Return the 401 for a missing or wrong token, as recorded."""
    return ProblemError(401, "You did not pass a valid authentication token", "Unauthenticated")


def not_found_error() -> ProblemError:
    """Return the 404 for an unknown resource."""
    return ProblemError(404, "The requested resource could not be found.")


def billing_required_error() -> ProblemError:
    """Return the 402, as recorded."""
    page = "https://replicate.com/account/billing#billing"
    detail = f"You need to set up billing to run this model. Go to {page} to set up billing."
    return ProblemError(402, detail, "Billing required")


def invalid_version_error() -> ProblemError:
    """Return the 422 for an unknown version, as recorded."""
    detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
    return ProblemError(422, detail, "Invalid version or not permitted")


def invalid_input_error(*reasons: InvalidField) -> ProblemError:
    """Return the 422 that lists every wrong field, as recorded.

    Its detail has one line `- [field: ]description` per field.
    """
    lines = [
        f"- {reason.field}: {reason.description}\n" if reason.field else f"- {reason.description}\n"
        for reason in reasons
    ]
    fields = [
        {"type": reason.type, "field": reason.field, "description": reason.description} for reason in reasons
    ]
    return ProblemError(422, "".join(lines), "Input validation failed", {"invalid_fields": fields})


def throttled_error(
    retry_after_seconds: int | None, *, in_body: bool = True, in_header: bool = True
) -> ProblemError:
    """Return the 429, as recorded, with the delay in the body, in the Retry-After header, both or neither."""
    detail = "Request was throttled."
    if retry_after_seconds is None:
        return ProblemError(429, detail)
    detail = f"{detail} Your rate limit resets in ~{retry_after_seconds}s."
    extras = {"retry_after": retry_after_seconds} if in_body else {}
    headers = {"Retry-After": str(retry_after_seconds)} if in_header else {}
    return ProblemError(429, detail, None, extras, headers)
