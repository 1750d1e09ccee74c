"""Settings of the simulator: options fixed at launch, and settings that may change while it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tools.simulator.streams import StreamDialect

DEFAULT_TOKEN = "r8_local"  # noqa: S105 - accepted by no other server
DEFAULT_WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the published svix example


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """Options of one process. URLs are origins without a trailing slash."""

    public_url: str
    third_party_url: str
    seed: int = 0
    ready_file: Path | None = None


class Settings(BaseModel):
    """Behavior that `POST /_control/settings` changes. Durations are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: str = Field(default=DEFAULT_TOKEN, min_length=1, description="the only accepted API token")
    webhook_secret: str = Field(
        default=DEFAULT_WEBHOOK_SECRET,
        pattern="^whsec_[A-Za-z0-9+/]+=*$",
        description="signs every webhook attempt sent from now on",
    )
    latency: float = Field(default=0.4, ge=0, description="typical run time; a model multiplies it")
    jitter: float = Field(default=0.2, ge=0, le=1, description="random share added to or taken from latency")
    completion_delay: float = Field(
        default=0.0, ge=0, description="time between the last output and the terminal status"
    )
    run_limit: float = Field(default=1800.0, gt=0, description="a longer run fails")
    hold: bool = Field(default=False, description="every run waits until the control API completes it")
    retention: float = Field(default=3600.0, gt=0, description="time from completion to removal of the data")
    sync_data_uris: bool = Field(
        default=False, description="`Prefer: wait` responses carry files as data: URIs"
    )
    webhooks_enabled: bool = Field(default=True, description="whether webhooks are sent")
    webhook_timeout: float = Field(default=10.0, gt=0, description="for one webhook attempt")
    webhook_retry_scale: float = Field(default=1.0, ge=0, description="factor on the webhook retry delays")
    rate_limit_per_minute: float | None = Field(
        default=None, gt=0, description="creates; None means no limit"
    )
    rate_limit_burst: int = Field(default=1, ge=1, description="creates allowed at once")
    stream_idle_limit: float = Field(default=30.0, gt=0, description="a stream without events ends after it")
    stream_retention: float = Field(
        default=60.0, ge=0, description="time from completion until a stream is gone"
    )
    stream_dialect: StreamDialect = Field(default="replicate", description="names of the events of streams")
    page_size: int = Field(
        default=100, ge=1, description="entries on a page of a list other than the predictions"
    )
    job_parameters: tuple[str, ...] = Field(
        default=("job",), description="query parameters of the webhook URL by which creates are counted"
    )

    def with_changes(self, changes: dict[str, Any]) -> "Settings":
        """Return these settings with the changes applied. Raises pydantic.ValidationError."""
        return Settings.model_validate({**self.model_dump(), **changes})
