"""The admin API from outside: what an operator's tools call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests

from replicate_proxy.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping


_TIMEOUT_SECONDS = (5, 30)


class AdminClient:
    """Keys and dead letters by the admin API. `url` is the stack output ApiUrl, `admin_key` an operator's."""

    def __init__(self, url: str, admin_key: str, session: requests.Session | None = None) -> None:
        self._url = url.rstrip("/")
        self._session = session or requests.Session()
        self._headers = {"Authorization": f"Bearer {admin_key}"}

    def create_key(self, tenant: str, **fields: Any) -> dict[str, Any]:
        """The new key, with its text under `key`; `fields` as in POST /admin/keys."""
        return self._call("POST", "/admin/keys", {"tenant": tenant, **fields})

    def list_keys(self, tenant: str | None = None) -> list[dict[str, Any]]:
        query = {"tenant": tenant} if tenant else {}
        return list(self._call("GET", "/admin/keys", query=query)["results"])

    def rotate_key(self, key_id: str, *, overlap_seconds: int) -> dict[str, Any]:
        """The key with its new text under `key`."""
        return self._call("POST", f"/admin/keys/{key_id}/rotate", {"overlap_seconds": overlap_seconds})

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        return self._call("DELETE", f"/admin/keys/{key_id}")

    def list_queues(self) -> list[dict[str, Any]]:
        """Every dead-letter queue with its depth."""
        return list(self._call("GET", "/admin/queues")["results"])

    def list_dead_letters(self, queue: str, *, limit: int, with_bodies: bool = False) -> list[dict[str, Any]]:
        """Some of a queue's letters; they stay where they are."""
        query = {"limit": str(limit), "body": str(with_bodies).lower()}
        return list(self._call("GET", f"/admin/queues/{queue}/dead-letters", query=query)["results"])

    def redrive(self, queue: str, **fields: Any) -> dict[str, Any]:
        """One round: {"handled", "skipped", "done"}; `fields` as in POST /admin/queues/{name}/redrive."""
        return self._call("POST", f"/admin/queues/{queue}/redrive", fields)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Raises RetryableError or PermanentError with the problem's own words."""
        try:
            reply = self._session.request(
                method,
                self._url + path,
                json=body,
                params=query,
                headers=self._headers,
                timeout=_TIMEOUT_SECONDS,
                allow_redirects=False,
            )
            answer: dict[str, Any] = reply.json()
        except (requests.RequestException, ValueError) as error:
            raise RetryableError(f"the admin API did not answer: {type(error).__name__}") from error
        if reply.ok:
            return answer
        problem = f"{reply.status_code}: {answer.get('detail') or answer.get('message')}"
        passing = (
            reply.status_code == requests.codes.too_many or reply.status_code >= requests.codes.server_error
        )
        raise RetryableError(problem) if passing else PermanentError(problem)
