"""One request for a page: who looks, what the form says, and how the page is answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from replicate_proxy.api.http import problem_from_error
from replicate_proxy.console.responses import html_response, redirect
from replicate_proxy.errors import ApiError, field_error
from replicate_proxy.strict_json import parse_strict_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.console.templates import Templates
    from replicate_proxy.console.viewer import Viewer
    from replicate_proxy.ports import Clock

# The largest input that the API accepts, whose Base64 grows by a sixteenth in a form. The event of a request
# has at most 6 MB (AWS Lambda, quotas).
_MAX_FORM_BYTES = 5_500_000
_MAX_FORM_FIELDS = 2000
ROOT = "/console"
NOT_DONE = "session_ended"
"""The notice that a change was not made, since its session had ended."""
_ONE_TIME_PARAMETERS = frozenset({"notice", "verify"})
"""What a page shows once, and not again where its other parameters are kept."""


@dataclass(frozen=True)
class Site:
    """What all pages share."""

    templates: Templates
    content_policy: str
    clock: Clock
    public_base_url: str = ""


@dataclass(frozen=True)
class Page:
    """A request for a page by a viewer; None before the sign-in."""

    site: Site
    request: Request
    viewer: Viewer | None = None

    @property
    def now(self) -> datetime:
        return self.site.clock.now()

    @property
    def signed_in_viewer(self) -> Viewer:
        """The viewer of a page that needs a session. Raises a 401 ApiError."""
        if self.viewer is None:
            raise ApiError(401, "Not signed in", "Sign in first")
        return self.viewer

    @property
    def base_path(self) -> str:
        """The path of the console, which begins with the stage or the base path of a domain."""
        return urlsplit(self.request.base_url).path.rstrip("/") + ROOT

    @property
    def public_base_url(self) -> str:
        """The start of the API's URLs in what the page creates."""
        return self.site.public_base_url or self.request.base_url

    @property
    def source_ip(self) -> str:
        return str((self.request.context.get("identity") or {}).get("sourceIp") or "")

    # Positional only: parameters of a request can have any names.
    def url(self, path: str = "", /, **query: str | int | None) -> str:
        """Return the URL of a page of the console; parameters without a value are left out."""
        given = {name.rstrip("_"): value for name, value in query.items() if value not in (None, "")}
        return f"{self.base_path}{path}" + (f"?{urlencode(given)}" if given else "")

    def url_with(self, /, **changes: str | int | None) -> str:
        """Return the URL of this page with other parameters."""
        return self.url(self._path, **{**self._lasting_query, **changes})

    @property
    def location(self) -> str:
        """This page within the console, with its parameters."""
        return self._path + (f"?{urlencode(self._lasting_query)}" if self._lasting_query else "")

    @property
    def _path(self) -> str:
        return self.request.resource.format(**self.request.path_params).removeprefix(ROOT)

    @property
    def _lasting_query(self) -> dict[str, str]:
        return {
            name: value
            for name, value in self.request.query.items()
            if value and name not in _ONE_TIME_PARAMETERS
        }

    @cached_property
    def form(self) -> Form:
        """The fields of the request's form. Raises a 413 or 415 ApiError."""
        content_type = self.request.headers.get("content-type", "").partition(";")[0].strip()
        if content_type != "application/x-www-form-urlencoded":
            raise ApiError(415, "Not a form", "The console takes forms only")
        if len(self.request.body) > _MAX_FORM_BYTES:
            raise ApiError(413, "Form too large", f"A form may have {_MAX_FORM_BYTES} bytes")
        try:
            text = self.request.body.decode()
            fields = parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS)
        except ValueError:
            raise ApiError(400, "Invalid form", "The form could not be read") from None
        return Form(fields)

    def render(self, template: str, *, problem: dict[str, Any] | None = None, **values: Any) -> Response:
        """Return the page, with the status of the problem if it shows one."""
        notice = self.request.query.get("notice", "")
        html = self.site.templates.render(
            template,
            now=self.now,
            page=self,
            viewer=self.viewer,
            url=self.url,
            notice=_NOTICES.get(notice),
            notice_kind="trouble" if notice == NOT_DONE else "good",
            problem=problem,
            **values,
        )
        return html_response(problem["status"] if problem else 200, html, self.site.content_policy)

    def render_error(self, error: Exception) -> Response:
        """Return the page of an error, which reveals nothing internal."""
        return self.render("error.html", problem=describe_error(error))

    def redirect(self, path: str, **query: str | int | None) -> Response:
        return redirect(self.url(path, **query))

    def attempt(self, change: Callable[[], Response], show: Callable[[dict[str, Any]], Response]) -> Response:
        """Return the response of a change; if it is refused, show the form again with the problem."""
        try:
            return change()
        except ApiError as error:
            return show(describe_error(error))


class Form:
    """The fields of a form."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def get(self, name: str, default: str = "") -> str:
        return self._fields.get(name, [default])[0].strip()

    def get_all(self, name: str) -> list[str]:
        return [text.strip() for text in self._fields.get(name, []) if text.strip()]

    def get_text(self, name: str) -> str:
        """Return the field as it was typed."""
        return self._fields.get(name, [""])[0]

    def get_json(self, name: str) -> Any:
        """Raise a 422 ApiError that says where the JSON is malformed."""
        try:
            return parse_strict_json(self.get_text(name).encode())
        except UnicodeEncodeError as error:
            raise field_error(name, "has half of a surrogate pair") from error
        except json.JSONDecodeError as error:
            position = f"line {error.lineno}, column {error.colno}"
            raise field_error(name, f"is not JSON: {error.msg} at {position}") from error
        except (ValueError, RecursionError) as error:
            raise field_error(name, "has a number or a nesting that is out of bounds") from error

    def get_lines(self, name: str) -> list[str]:
        """Return the entries of a list that is typed with commas, blanks or lines."""
        return self.get_text(name).replace(",", " ").split()

    def get_number(self, name: str, *, minimum: float, maximum: float) -> float | None:
        """Return the number of a field, None if it is empty. Raises a 422 ApiError if it is out of range."""
        number = self.get_optional(**{name: float}).get(name)
        if number is None or minimum <= number <= maximum:  # false for a NaN
            return number
        raise field_error(name, f"must be a number from {minimum:g} to {maximum:g}")

    def get_optional(self, **types: Callable[[str], Any]) -> dict[str, Any]:
        """Return the fields that are not empty, converted. Raises a 422 ApiError."""
        values: dict[str, Any] = {}
        for name, convert in types.items():
            text = self.get(name)
            if not text:
                continue
            try:
                values[name] = convert(text)
            except ValueError:
                raise field_error(name, "is not a number") from None
        return values


def describe_error(error: Exception) -> dict[str, Any]:
    """Return the problem as the API describes it: title, detail, status, and the invalid fields."""
    problem: dict[str, Any] = json.loads(problem_from_error(error)["body"])
    return {"invalid_fields": [], "retry_after": None, **problem}


# What a change has done, by the name that the address of the next page has.
_NOTICES = {
    "cancel": "The cancel is requested.",
    "bulk_started": "The operation has started.",
    "bulk_canceled": "The operation is canceled.",
    "created": "The prediction is created.",
    "created_before": "The form was sent twice: this is the prediction that it created.",
    "redelivered": "The delivery is enqueued again.",
    "tested": "A test event is on its way.",
    "enabled": "The endpoint is enabled; what it missed is sent again.",
    "disabled": "The endpoint is disabled.",
    "deleted": "It is deleted.",
    "saved": "It is saved.",
    "revoked": "The key is revoked.",
    "predictions_paused": "Predictions are paused.",
    "predictions_resumed": "Predictions are resumed.",
    "deliveries_paused": "Webhooks are paused.",
    "deliveries_resumed": "Webhooks are resumed.",
    "batch_canceled": "The cancel of the batch is requested.",
    "retried": "The prediction is run again as this new one.",
    "harvest": "The files are fetched again.",
    "prediction_deleted": "The prediction is deleted; its files are removed within two minutes.",
    "account_saved": "The token is checked and stored.",
    "account_removed": "The token is removed; new predictions run in the shared account.",
    "replay_started": "The replay is started.",
    "replay_canceled": "The replay is being stopped.",
    "breaker_open": "The circuit breaker is open.",
    "breaker_closed": "The circuit breaker is closed.",
    "refreshed": "The webhook secret is read from Replicate.",
    "signed_out": "You are signed out.",
    NOT_DONE: "Your session had ended: nothing was changed. Sign in, and repeat it.",
}
