"""`stack.json`: all that a tool needs to talk to a running local stack."""

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from tools.local import environment
from tools.local.errors import LocalError
from tools.local.home import Home


@dataclass(frozen=True)
class Stack:
    """Addresses, keys and names of one deployed stack. Keys are of the local stack only."""

    stack_name: str
    region: str
    endpoint_url: str
    api_url: str
    simulator_url: str
    cdn_url: str
    api_key: str
    admin_key: str
    upstream_url: str
    webhooks: bool
    outputs: dict[str, str] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)

    def save(self, home: Home) -> None:
        text = json.dumps(asdict(self), indent=2) + "\n"
        temporary = home.stack_file.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o600)
        temporary.replace(home.stack_file)

    @classmethod
    def load(cls, home: Home) -> "Stack":
        try:
            return cls(**json.loads(home.stack_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise LocalError("no local stack is up; run `make up` first") from None
        except (ValueError, TypeError) as error:
            raise LocalError(f"{home.stack_file} is not readable; run `make up` again") from error

    def aws(self, service: str) -> Any:
        """A boto3 client of the emulated account; never of the user's own."""
        return client(service, self.endpoint_url)


@cache
def client(service: str, endpoint_url: str) -> Any:
    """A boto3 client for the emulator at `endpoint_url`, whatever AWS settings the user has."""
    session = boto3.session.Session(
        aws_access_key_id=environment.ACCESS_KEY,
        aws_secret_access_key=environment.SECRET_KEY,
        region_name=environment.REGION,
    )
    config = Config(retries={"total_max_attempts": 3}, read_timeout=60, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=endpoint_url, config=config)  # type: ignore[call-overload]  # any service
