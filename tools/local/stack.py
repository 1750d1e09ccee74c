"""`stack.json`: all that a tool needs to talk to a running local stack."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.local.emulator import get_client
from tools.local.errors import LocalError
from tools.local.paths import StackFolder


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
    webhooks_enabled: bool
    outputs: dict[str, str] = field(default_factory=dict)
    process_ids: dict[str, int] = field(default_factory=dict)
    log_files: dict[str, str] = field(default_factory=dict)

    def save(self, home: StackFolder) -> None:
        text = json.dumps(asdict(self), indent=2) + "\n"
        temporary = home.stack_file.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o600)
        temporary.replace(home.stack_file)

    @classmethod
    def load(cls, home: StackFolder) -> "Stack":
        try:
            return cls(**json.loads(home.stack_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise LocalError("no local stack is up; run `make up` first") from None
        except (ValueError, TypeError) as error:
            raise LocalError(f"{home.stack_file} is not readable; run `make up` again") from error

    def get_client(self, service: str) -> Any:
        """A boto3 client of the emulated account; never of the user's own."""
        return get_client(service, self.endpoint_url)

    @property
    def function_names(self) -> dict[str, str]:
        """Deployed name by short name: {"ingest": "replicate-proxy-ingest"}."""
        suffix = "FunctionName"
        found = {key.removesuffix(suffix): name for key, name in self.outputs.items() if key.endswith(suffix)}
        return {short.lower(): name for short, name in sorted(found.items())}
