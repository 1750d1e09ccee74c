"""What is fixed at start (Launch) and what may change while running (Knobs)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_TOKEN = "r8_local"  # noqa: S105 - worth nothing anywhere else
DEFAULT_WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the published svix example


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Facts of one process; urls are origins without a trailing slash."""

    url: str
    third_party_url: str
    seed: int = 0
    ready_file: Path | None = None


class Knobs(BaseModel):
    """Behaviour that `POST /_control/settings` changes; times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: str = Field(default=DEFAULT_TOKEN, min_length=1, description="the one API token")
    webhook_secret: str = Field(
        default=DEFAULT_WEBHOOK_SECRET,
        pattern="^whsec_[A-Za-z0-9+/]+=*$",
        description="signs webhooks from now on",
    )
    latency: float = Field(default=0.4, ge=0, description="usual run time; models scale it")
    jitter: float = Field(default=0.2, ge=0, le=1, description="random share of the latency, either way")
    settle: float = Field(default=0.0, ge=0, description="from the last output to the end")
    run_limit: float = Field(default=1800.0, gt=0, description="a run longer than this fails")
    hold: bool = Field(default=False, description="every run waits to be completed by hand")
    retention: float = Field(default=3600.0, gt=0, description="data is removed so long after completion")
    sync_data_uris: bool = Field(
        default=False, description="`Prefer: wait` replies carry files as data: URIs"
    )
    webhooks: bool = Field(default=True, description="send webhooks at all")
    webhook_timeout: float = Field(default=10.0, gt=0)
    webhook_retry_scale: float = Field(default=1.0, ge=0, description="factor on the webhook retry delays")
    rate_limit_per_minute: float | None = Field(default=None, gt=0, description="creates; None: no limit")
    rate_limit_burst: int = Field(default=1, ge=1)
    job_parameters: tuple[str, ...] = Field(default=("job",), description="webhook query names to count by")

    def changed(self, patch: dict[str, Any]) -> "Knobs":
        """These knobs with the patch applied; pydantic.ValidationError names a field that is wrong."""
        return Knobs.model_validate({**self.model_dump(), **patch})
