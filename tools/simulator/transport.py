"""The outgoing HTTP of webhooks: one POST, bounded in time, never following a redirect."""

from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

_IDLE = 1.0  # seconds; shorter than any receiver keeps an idle connection, so none is closed under a webhook
_SENT_WITH = {"content-type": "application/json", "user-agent": "local-replicate-webhooks/1"}


@dataclass(frozen=True, slots=True)
class Reply:
    """The receiver's status code, or why there is none."""

    status: int | None
    error: str | None = None


class Transport(Protocol):
    """Posts a webhook."""

    async def post(self, url: str, body: bytes, headers: dict[str, str], within: float) -> Reply:
        """Post; `within` seconds for the whole exchange. Never raises for network trouble."""
        ...


class AiohttpTransport:
    """A pooled client, opened on first use because it belongs to the running event loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: dict[str, str], within: float) -> Reply:
        """See Transport. The URL is sent byte for byte: a receiver may have signed its query."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE)
            self._session = aiohttp.ClientSession(connector=connector)
        try:
            async with self._session.post(
                URL(url, encoded=True),
                data=body,
                headers=_SENT_WITH | headers,
                timeout=aiohttp.ClientTimeout(total=within),
                allow_redirects=False,
            ) as reply:
                await reply.read()
                return Reply(reply.status)
        except TimeoutError:
            return Reply(None, f"no answer within {within:g} s")
        except (aiohttp.ClientError, ValueError) as error:
            return Reply(None, str(error) or type(error).__name__)

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
