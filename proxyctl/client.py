"""A client of the admin API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import requests
from requests.auth import AuthBase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The audit trail records by this that a change came from the command line.
USER_AGENT = "proxyctl"
MAX_PAGE_SIZE = 100
_EXPORT_TYPES = {"text/csv", "application/x-ndjson"}
_CONNECT_AND_READ_TIMEOUT_SECONDS = (5, 35)  # API Gateway ends a request after 29 seconds


class AdminApiError(Exception):
    """A request that the admin API refused. `hint` says what to do; `problem` is the response's JSON."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        hint: str = "",
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint
        self.problem = dict(problem or {})


class UnavailableError(AdminApiError):
    """The admin API did not respond, is busy or failed; a repeated request may succeed."""


class _ResponseObject(dict[str, Any]):
    """A JSON object of a response. A field that it lacks is the error of a server of something else."""

    def __init__(self, fields: Mapping[str, Any], *, method: str, path: str) -> None:
        super().__init__(fields)
        self._method, self._path = method, path

    def __missing__(self, name: str) -> Any:
        raise _build_foreign_response_error(self._method, self._path, f"has no {name}")


@dataclass(frozen=True)
class Reply:
    """A successful response: its JSON object (None without one), text and headers."""

    content: Any
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str | None:
        return self.headers.get("ETag")


class _BearerAuth(AuthBase):
    """Authenticates with the key; an `auth` of its own keeps requests from using ~/.netrc instead."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class AdminClient:
    """Sends requests to the admin API.

    Every call raises UnavailableError if the API does not respond, is busy or fails, AdminApiError for other
    errors. No message contains the key.
    """

    def __init__(self, url: str, admin_key: str, session: requests.Session | None = None) -> None:
        """Set `url` to the stack output ApiUrl, `admin_key` to a key with the scope `admin`."""
        self._url = url.rstrip("/")
        self._session = session or requests.Session()
        if urlsplit(url).scheme == "http":
            self._session.trust_env = False  # It is this machine: a proxy would get the key unencrypted.
        self._auth = _BearerAuth(admin_key)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request to a path of `build_path` and return the response."""
        try:
            response = self._session.request(
                method,
                self._url + path,
                json=body,
                params=query,
                auth=self._auth,
                headers={"User-Agent": USER_AGENT, **(headers or {})},
                timeout=_CONNECT_AND_READ_TIMEOUT_SECONDS,
                # Another host must not get the key.
                allow_redirects=False,
            )
        except UnicodeError as error:
            raise AdminApiError(f"{method} {path}: a parameter or header has invalid characters") from error
        except requests.RequestException as error:
            raise UnavailableError(
                f"{method} {path}: the admin API did not respond: {type(error).__name__}",
                hint=f"check the network and REPLICATE_PROXY_URL, which is {self._url}",
            ) from error
        if response.is_redirect or not response.ok:
            raise _build_error(method, path, response)
        return Reply(_parse_content(method, path, response), response.text, response.headers)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request and return the JSON object of the response, None for a change without one."""
        content = self.send(method, path, body, query=query, headers=headers).content
        if content is None and method == "GET":
            raise _build_foreign_response_error(method, path, "is not a JSON object")
        return content

    def list_pages(self, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list. The cursor of `next` is sent to the client's own URL."""
        cursor: str | None = None
        while True:
            page = self.call("GET", path, query=query if cursor is None else {**query, "cursor": cursor})
            yield page
            cursor = parse_cursor(page["next"])
            if cursor is None:
                return

    def list_results(self, path: str, query: Mapping[str, str], *, limit: int) -> list[dict[str, Any]]:
        """Return the first `limit` results of a list."""
        results: list[dict[str, Any]] = []
        pages = self.list_pages(path, {**query, "limit": str(min(limit, MAX_PAGE_SIZE))})
        for page in pages:
            results += page["results"]
            if len(results) >= limit:
                break
        return results[:limit]

    def find_job(self, job_id: str) -> dict[str, Any]:
        """Return what operators see of a prediction, whoever's it is. Raises AdminApiError without one."""
        results = self.call("GET", "/admin/jobs", query={"id": job_id})["results"]
        if not results:
            raise AdminApiError(f"no prediction has the ID {job_id}", status=requests.codes.not_found)
        job: dict[str, Any] = results[0]
        return job

    def list_queues(self) -> list[dict[str, Any]]:
        """Return all queues with their depths."""
        return list(self.call("GET", "/admin/queues")["results"])


def count_messages(state: dict[str, Any]) -> int:
    """Return how many messages a queue holds."""
    return int(state["waiting"] + state["in_flight"] + state["delayed"])


def build_path(*segments: str) -> str:
    """Return the path below /admin of these segments, each of which is quoted."""
    return "/admin/" + "/".join(quote(segment, safe="") for segment in segments)


def parse_cursor(url: str | None) -> str | None:
    """Return the cursor in the URL of a next page, None without a next page."""
    values = parse_qs(urlsplit(url or "").query).get("cursor", [])
    return values[0] if values else None


def _parse_content(method: str, path: str, response: requests.Response) -> dict[str, Any] | None:
    """Return the object in a response, None for a response without a body and for the text of an export."""
    content_type = response.headers.get("Content-Type", "").partition(";")[0]
    if response.status_code == requests.codes.no_content or content_type in _EXPORT_TYPES:
        return None
    try:
        content = response.json(object_hook=lambda fields: _ResponseObject(fields, method=method, path=path))
    except (ValueError, RecursionError) as error:
        raise _build_foreign_response_error(method, path, "is not JSON") from error
    if not isinstance(content, dict):
        raise _build_foreign_response_error(method, path, "is not a JSON object")
    if not _is_list_of_objects(content.get("results", [])) or not isinstance(content.get("next"), str | None):
        raise _build_foreign_response_error(method, path, "is not a list of this API")
    return content


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _build_foreign_response_error(method: str, path: str, fault: str) -> UnavailableError:
    return UnavailableError(
        f"{method} {path}: the response {fault}",
        hint="check REPLICATE_PROXY_URL: it is the output ApiUrl of the stack, with its stage",
    )


def _build_error(method: str, path: str, response: requests.Response) -> AdminApiError:
    try:
        content = response.json()
    except (ValueError, RecursionError):
        content = None
    problem = content if isinstance(content, dict) else {}
    status = response.status_code
    texts = [text for text in (f"{method} {path}: {status}", _describe_problem(problem)) if text]
    is_retryable = status == requests.codes.too_many or status >= requests.codes.server_error
    kind = UnavailableError if is_retryable else AdminApiError
    return kind(" ".join(texts), status=status, hint=_get_hint(status), problem=problem)


def _describe_problem(problem: Mapping[str, Any]) -> str:
    """Return what a problem response says: its title, each invalid field, or else its detail."""
    fields = problem.get("invalid_fields")
    if fields and _is_list_of_objects(fields):
        detail = "; ".join(f"{one.get('field')} {one.get('description')}" for one in fields)
    else:
        detail = str(problem.get("detail") or problem.get("message") or "")
    title = str(problem.get("title") or "")
    return ": ".join(text for text in (title, detail) if text)


def _get_hint(status: int) -> str:
    match status:
        case 401 | 403:
            return (
                "check REPLICATE_PROXY_ADMIN_KEY: it must be a valid key of this stack with the scope admin"
            )
        case 409 | 412:
            return (
                "its present state does not allow it: if it has changed meanwhile, look at it and try again"
            )
        case 429:
            return "too many requests: try again in a minute"
        case _ if status >= requests.codes.server_error:
            return "try again; if it goes on, read the log of the admin function"
        case _:
            return ""
