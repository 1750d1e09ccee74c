"""Settings of the simulator: options fixed at launch, and settings that may change while it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tools.simulator.streams import StreamDialect

DEFAULT_TOKEN = "r8_local"  # noqa: S105 - accepted by no other server
DEFAULT_ACCOUNT = "local"
DEFAULT_WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the published svix example


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """Options of one process. URLs are origins without a trailing slash."""

    public_url: str
    third_party_url: str
    seed: int = 0
    ready_file: Path | None = None


_WEBHOOK_SECRET_PATTERN = "^whsec_[A-Za-z0-9+/]+=*$"  # noqa: S105 - the form of a secret


class AccountSettings(BaseModel):
    """An account at the local Replicate: with predictions, limits and private models of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    token: str = Field(min_length=1)
    webhook_secret: str = Field(pattern=_WEBHOOK_SECRET_PATTERN)
    rate_limit_per_minute: float | None = Field(default=None, gt=0)
    rate_limit_burst: int = Field(default=1, ge=1)
    private_models: tuple[str, ...] = Field(default=(), description="`owner/name`, hidden from others")


class Settings(BaseModel):
    """Behavior that `POST /_control/settings` changes. Durations are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: str = Field(
        default=DEFAULT_TOKEN, min_length=1, description="the API token of the default account"
    )
    accounts: tuple[AccountSettings, ...] = Field(default=(), description="further accounts")
    webhook_secret: str = Field(
        default=DEFAULT_WEBHOOK_SECRET,
        pattern=_WEBHOOK_SECRET_PATTERN,
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

    def list_accounts(self) -> tuple[AccountSettings, ...]:
        """Return all accounts, the default one first."""
        default = AccountSettings(
            username=DEFAULT_ACCOUNT,
            token=self.token,
            webhook_secret=self.webhook_secret,
            rate_limit_per_minute=self.rate_limit_per_minute,
            rate_limit_burst=self.rate_limit_burst,
        )
        return (default, *self.accounts)

    def find_account(self, username: str) -> AccountSettings:
        """Return an account by name, the default one if it has been removed."""
        accounts = self.list_accounts()
        return next((account for account in accounts if account.username == username), accounts[0])

    def is_visible(self, model: str, username: str) -> bool:
        """Return whether an account may see and run a model."""
        owners = [account.username for account in self.accounts if model in account.private_models]
        return not owners or username in owners

    def with_changes(self, changes: dict[str, Any]) -> "Settings":
        """Return these settings with the changes applied. Raises pydantic.ValidationError."""
        return Settings.model_validate({**self.model_dump(), **changes})
