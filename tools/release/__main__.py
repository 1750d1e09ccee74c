"""`.venv/bin/python -m tools.release deploy` and `.venv/bin/python -m tools.release validate`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxyctl.terminal import run_tool
from tools.release.errors import ReleaseError
from tools.release.gradual import STRATEGIES
from tools.release.release import Release
from tools.release.repository import GitRepository
from tools.release.sam import Sam
from tools.release.stack import DeployedStack
from tools.release.target import read_target
from tools.release.validation import Validation, run_checks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tools.release.validation import CheckResult

ROOT = Path(__file__).parents[2]
_KEY_VARIABLE = "PROXY_API_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 for a valid release, 1 for an invalid one, 2 if this is unknown."""
    options = _parse_arguments(arguments)
    try:
        api_key = os.environ.get(_KEY_VARIABLE)
        if not api_key:
            raise ReleaseError(
                f"set {_KEY_VARIABLE} to an API key with the scopes predictions:read and predictions:write"
            )
        return 0 if options.command(options, api_key) else 1
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 2


def _deploy(options: argparse.Namespace, api_key: str) -> bool:
    target = read_target(ROOT / "samconfig.toml", options.config_env)
    stack = DeployedStack.connect(target)

    def validate() -> Iterator[CheckResult]:
        expects_webhook = stack.expects_webhooks()
        return _build_validation(options, stack.get_api_url(), api_key, expects_webhook=expects_webhook).run()

    sam = Sam(ROOT / ".venvs" / "sam" / "bin", options.gradual, options.sam)
    return Release(GitRepository(ROOT), sam, stack, validate, _print_line).run(target.config_env)


def _validate(options: argparse.Namespace, api_key: str) -> bool:
    url = _check_url(options.url.rstrip("/"))
    validation = _build_validation(options, url, api_key, expects_webhook=not options.polling)
    return run_checks(validation.run(), _print_line)


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ReleaseError(
            f"not a URL: {url}; set URL to the stack output ApiUrl, like https://…amazonaws.com/prod"
        )
    return url


def _build_validation(
    options: argparse.Namespace, url: str, api_key: str, *, expects_webhook: bool
) -> Validation:
    return Validation(
        url=url,
        api_key=api_key,
        model=options.model,
        prompt=options.prompt,
        timeout_seconds=options.timeout,
        expects_webhook=expects_webhook,
    )


def _print_line(text: str) -> None:
    print(text, flush=True)


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m tools.release", description="Release to AWS.")
    commands = parser.add_subparsers(required=True)
    validation = argparse.ArgumentParser(add_help=False)
    validation.add_argument(
        "--model", default="black-forest-labs/flux-schnell", help="the model to run once, for its usual price"
    )
    validation.add_argument("--prompt", default="a lighthouse at dusk")
    validation.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="the limit for the prediction"
    )

    deploy = commands.add_parser(
        "deploy", parents=[validation], help="deploy and validate this commit; roll back if it fails"
    )
    deploy.add_argument("--config-env", default="default", help="environment of samconfig.toml")
    deploy.add_argument("--gradual", choices=STRATEGIES, help="shift traffic gradually, with CodeDeploy")
    deploy.add_argument("sam", nargs="*", metavar="-- …", help="more arguments for `sam deploy`")
    deploy.set_defaults(command=_deploy)

    validate = commands.add_parser("validate", parents=[validation], help="validate a deployed stack")
    validate.add_argument("--url", required=True, help="the stack output ApiUrl")
    validate.add_argument(
        "--polling",
        action="store_true",
        help="expect no webhook, as with EnableReplicateWebhooks=false",
    )
    validate.set_defaults(command=_validate)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_tool(main))
