"""A client of the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests

from replicate_proxy.api.admin.actor import CLI_USER_AGENT
from replicate_proxy.errors import ConfigurationError, PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping


_CONNECT_AND_READ_TIMEOUT_SECONDS = (5, 30)


class AdminClient:
    """Manages API keys, model entries and dead letters through the admin API.

    Every call raises RetryableError if the API does not respond, is busy or fails, PermanentError for other
    errors; the message is the detail of the problem response.
    """

    def __init__(self, url: str, admin_key: str, session: requests.Session | None = None) -> None:
        """Set `url` to the stack output ApiUrl, `admin_key` to a key with the scope `admin`."""
        self._url = url.rstrip("/")
        self._session = session or requests.Session()
        # The audit trail records by this that a change came from the command line.
        self._headers = {"Authorization": f"Bearer {admin_key}", "User-Agent": CLI_USER_AGENT}

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> AdminClient:
        """Read URL and key from the environment: command lines are visible to other users of a machine.

        Raises ConfigurationError if one of them is missing.
        """
        for name in ("REPLICATE_PROXY_URL", "REPLICATE_PROXY_ADMIN_KEY"):
            if not variables.get(name):
                raise ConfigurationError(f"environment variable {name} is not set")
        return cls(variables["REPLICATE_PROXY_URL"], variables["REPLICATE_PROXY_ADMIN_KEY"])

    def create_key(self, tenant: str, **fields: Any) -> dict[str, Any]:
        """Create a key; the secret is in `key`. The fields are those of POST /admin/keys."""
        return self._call("POST", "/admin/keys", {"tenant": tenant, **fields})

    def list_keys(self, tenant: str | None = None) -> list[dict[str, Any]]:
        query = {"tenant": tenant} if tenant else {}
        return list(self._call("GET", "/admin/keys", query=query)["results"])

    def rotate_key(self, key_id: str, *, overlap_seconds: int) -> dict[str, Any]:
        """Rotate a key; the new secret is in `key`."""
        return self._call("POST", f"/admin/keys/{key_id}/rotate", {"overlap_seconds": overlap_seconds})

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        return self._call("DELETE", f"/admin/keys/{key_id}")

    def put_model_entry(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Create or replace the entry of a model."""
        return self._call("PUT", f"/admin/models/{name}", entry)

    def find_job(self, job_id: str) -> dict[str, Any] | None:
        """Return what operators see of a prediction, whoever's it is; None if there is none."""
        results = self._call("GET", "/admin/jobs", query={"id": job_id})["results"]
        return results[0] if results else None

    def get_story(self, tenant: str, job_id: str) -> dict[str, Any]:
        """Return all that is recorded about a prediction."""
        return self._call("GET", f"/admin/jobs/{tenant}/{job_id}/story")

    def list_queues(self) -> list[dict[str, Any]]:
        """Return all dead-letter queues with their depths."""
        return list(self._call("GET", "/admin/queues")["results"])

    def list_dead_letters(self, queue: str, *, limit: int, with_bodies: bool = False) -> list[dict[str, Any]]:
        """Return at most `limit` messages of a queue; they stay in the queue."""
        query = {"limit": str(limit), "body": str(with_bodies).lower()}
        return list(self._call("GET", f"/admin/queues/{queue}/dead-letters", query=query)["results"])

    def redrive(self, queue: str, **fields: Any) -> dict[str, Any]:
        """Redrive for up to 20 seconds; return `handled`, `skipped` and `done`.

        The fields are those of POST /admin/queues/{name}/redrive.
        """
        return self._call("POST", f"/admin/queues/{queue}/redrive", fields)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            response = self._session.request(
                method,
                self._url + path,
                json=body,
                params=query,
                headers=self._headers,
                timeout=_CONNECT_AND_READ_TIMEOUT_SECONDS,
                allow_redirects=False,
            )
            content: dict[str, Any] = response.json()
        except (requests.RequestException, ValueError) as error:
            raise RetryableError(f"the admin API did not respond: {type(error).__name__}") from error
        if response.ok:
            return content
        message = f"{method} {path}: {response.status_code} {_describe_problem(content)}"
        is_retryable = (
            response.status_code == requests.codes.too_many
            or response.status_code >= requests.codes.server_error
        )
        raise RetryableError(message) if is_retryable else PermanentError(message)


def _describe_problem(content: Mapping[str, Any]) -> str:
    """Return what a problem response says: each invalid field, or else title and detail."""
    if fields := content.get("invalid_fields"):
        return "; ".join(f"{field['field']} {field['description']}" for field in fields)
    texts = (content.get("title"), content.get("detail") or content.get("message"))
    return ": ".join(str(text) for text in texts if text)
