"""What a fault rule may say."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

type Endpoint = Literal[
    "create", "get", "list", "cancel", "download", "file", "model", "other", "any", "webhook"
]
type Kind = Literal[
    "status",
    "status_after_accept",
    "reset_before_accept",
    "reset_after_accept",
    "timeout_before",
    "timeout_after",
    "slow_body",
    "broken_json",
    "truncated",
    "redirect",
    "wrong_content_type",
    "lose",
    "duplicate",
    "reorder",
    "delay",
    "forge",
    "bad_status",
]

WEBHOOK_KINDS: frozenset[Kind] = frozenset({"lose", "duplicate", "reorder", "delay", "forge", "bad_status"})


class FaultRule(BaseModel):
    """Which calls break, how often, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Endpoint
    kind: Kind
    event: Literal["start", "output", "logs", "completed"] | None = None
    contains: str | None = Field(default=None, description="text of the URL or the body")
    after: int = Field(default=0, ge=0, description="spare the first n matching calls")
    times: int | None = Field(default=None, ge=1, description="fire at most so often")
    probability: float = Field(default=1.0, ge=0, le=1)
    status: int = Field(default=500, ge=300, le=599)
    retry_after: int | None = Field(default=None, ge=0, description="seconds, of a 429 or 503")
    retry_after_in: tuple[Literal["body", "header"], ...] = ("body", "header")
    detail: str | None = None
    seconds: float = Field(default=5.0, ge=0, description="of a hang, a slow body, a delay, a reorder wait")
    location: str = Field(default="http://127.0.0.1:9/", description="target of a redirect")
    content_type: str = Field(default="text/html", description="of wrong_content_type")
    copies: int = Field(default=2, ge=2, description="of a duplicate, in total")

    @model_validator(mode="after")
    def _kind_fits_endpoint(self) -> Self:
        if (self.endpoint == "webhook") != (self.kind in WEBHOOK_KINDS):
            raise ValueError(f"kind {self.kind!r} does not apply to endpoint {self.endpoint!r}")
        if self.event is not None and self.endpoint != "webhook":
            raise ValueError("event applies to endpoint 'webhook' only")
        return self
