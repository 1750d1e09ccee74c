"""A running local stack, as `stack.json` describes it to other tools."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.local.emulator import get_client
from tools.local.errors import LocalError
from tools.local.paths import StackFolder


@dataclass(frozen=True)
class Stack:
    """Addresses, API keys and names of a stack. Its keys are valid in this stack only."""

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

    def save(self, folder: StackFolder) -> None:
        """Write `stack.json`, readable for its owner only."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        temporary = folder.stack_file.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o600)
        temporary.replace(folder.stack_file)

    @classmethod
    def load(cls, folder: StackFolder) -> "Stack":
        """Read `stack.json`. Raises `LocalError` if there is none, or an unreadable one."""
        try:
            return cls(**json.loads(folder.stack_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise LocalError(
                f"no local stack is running; run `make up{folder.make_argument}` first"
            ) from None
        except (ValueError, TypeError) as error:
            raise LocalError(
                f"cannot read {folder.stack_file}; run `make up{folder.make_argument}` again"
            ) from error

    def get_client(self, service: str) -> Any:
        """Return a boto3 client for the emulated AWS account."""
        return get_client(service, self.endpoint_url)

    def get_root_secret(self) -> str:
        """Return the secret from which the stack derives its signing keys."""
        secrets_manager = self.get_client("secretsmanager")
        secret = secrets_manager.get_secret_value(SecretId=self.outputs["SigningSecretArn"])
        return str(secret["SecretString"])

    def get_parameter(self, name: str) -> str:
        """Return the value of an SSM parameter, decrypted."""
        response = self.get_client("ssm").get_parameter(Name=name, WithDecryption=True)
        return str(response["Parameter"]["Value"])

    @property
    def function_names(self) -> dict[str, str]:
        """The deployed names by short name: {"ingest": "replicate-proxy-ingest"}."""
        suffix = "FunctionName"
        found = {key.removesuffix(suffix): name for key, name in self.outputs.items() if key.endswith(suffix)}
        return {short.lower(): name for short, name in sorted(found.items())}
