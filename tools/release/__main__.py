"""`python -m tools.release deploy` and `python -m tools.release validate`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tools.release.errors import ReleaseError
from tools.release.flow import Release
from tools.release.gradual import STRATEGIES
from tools.release.sam import Sam
from tools.release.source import Checkout
from tools.release.stack import DeployedStack
from tools.release.target import read_target
from tools.release.validation import Validation, holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tools.release.validation import Check

ROOT = Path(__file__).parents[2]
KEY = "PROXY_API_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 for a stack that holds, 1 for one that does not, 2 if nobody could tell."""
    options = _parser().parse_args(arguments)
    try:
        key = os.environ.get(KEY)
        if not key:
            raise ReleaseError(f"{KEY} is not set: an API key with predictions:read and predictions:write")
        return 0 if options.do(options, key) else 1
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 2


def _deploy(options: argparse.Namespace, key: str) -> bool:
    target = read_target(ROOT / "samconfig.toml", options.config_env)
    stack = DeployedStack.of(target)

    def validate() -> Iterator[Check]:
        return _validation(options, stack.api_url(), key).run()

    sam = Sam(ROOT / ".venvs" / "sam" / "bin", options.gradual, options.sam)
    return Release(Checkout(ROOT), sam, stack, validate, _say).run(target.config_env)


def _validate(options: argparse.Namespace, key: str) -> bool:
    return holds(_validation(options, options.url.rstrip("/"), key).run(), _say)


def _validation(options: argparse.Namespace, url: str, key: str) -> Validation:
    return Validation(url, key, options.model, options.prompt, options.patience, options.polling)


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    commands = parser.add_subparsers(required=True)
    asked = argparse.ArgumentParser(add_help=False)
    asked.add_argument("--model", default="black-forest-labs/flux-schnell", help="runs once; it is paid for")
    asked.add_argument("--prompt", default="a lighthouse at dusk")
    asked.add_argument("--patience", type=float, default=300.0, help="seconds that the prediction may take")
    asked.add_argument("--polling", action="store_true", help="for a stack that Replicate cannot call back")

    deploy = commands.add_parser("deploy", parents=[asked], help="deploy, validate, go back if it fails")
    deploy.add_argument("--config-env", default="default", help="environment of samconfig.toml")
    deploy.add_argument("--gradual", choices=STRATEGIES, help="move traffic step by step, by CodeDeploy")
    deploy.add_argument("sam", nargs="*", metavar="-- …", help="more for `sam deploy`")
    deploy.set_defaults(do=_deploy)

    validate = commands.add_parser("validate", parents=[asked], help="ask a deployed stack for its promises")
    validate.add_argument("--url", required=True, help="origin and stage, the output ApiUrl")
    validate.set_defaults(do=_validate)
    return parser


if __name__ == "__main__":
    sys.exit(main())
