"""Which Replicate the stack talks to: the local one, Replicate itself, or any other address."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests

from tools.local.errors import LocalError
from tools.simulator.settings import DEFAULT_TOKEN

REPLICATE = "https://api.replicate.com"
POLLED_SECRET = "whsec_bm90LXVzZWQtd2hpbGUtcG9sbGluZw=="  # noqa: S105 - stands where no webhook will ever come


@dataclass(frozen=True)
class Upstream:
    """Address and token of a Replicate. Without webhooks the proxy learns by polling."""

    url: str
    webhooks: bool
    token: str = field(repr=False)

    @property
    def is_local(self) -> bool:
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}

    @property
    def output_hosts(self) -> str:
        """Hosts that outputs may be fetched from, comma separated."""
        return "127.0.0.1" if self.is_local else "replicate.delivery,*.replicate.delivery"

    def webhook_secret(self) -> str:
        """What signs this upstream's webhooks (OpenAPI document: GET /webhooks/default/secret)."""
        if not self.webhooks:
            return POLLED_SECRET
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            answer = requests.get(f"{self.url}/v1/webhooks/default/secret", headers=headers, timeout=10)
            answer.raise_for_status()
            return str(answer.json()["key"])
        except (requests.RequestException, ValueError, KeyError) as error:
            raise LocalError(f"{self.url} does not tell its webhook secret: {error}") from error


def choose(environment: Mapping[str, str], local_url: str) -> Upstream:
    """REPLICATE_API_TOKEN means a real account, which cannot call back to a laptop, so it is polled."""
    token = environment.get("REPLICATE_API_TOKEN", "").strip()
    address = environment.get("REPLICATE_API_BASE_URL", "").strip().rstrip("/").removesuffix("/v1")
    if address and not address.startswith(("https://", "http://")):
        raise LocalError(f"REPLICATE_API_BASE_URL is not an address: {address}")
    default = REPLICATE if token else local_url
    return Upstream(address or default, webhooks=not token, token=token or DEFAULT_TOKEN)
