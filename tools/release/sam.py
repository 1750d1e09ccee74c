"""`sam build` and `sam deploy`, with the arguments that docs/deploying.md describes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.release import gradual
from tools.release.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


_COMMIT_DIGITS = 12


@dataclass(frozen=True)
class Sam:
    """Builds and deploys a checkout.

    `bin_folder` contains sam and a python3.13 with pip; `deploy_arguments` are passed to `sam deploy`.
    """

    bin_folder: Path
    gradual_strategy: str | None = None
    deploy_arguments: Sequence[str] = ()

    def deploy(
        self,
        checkout: Path,
        config_env: str,
        release: str,
        *,
        immediate: bool = False,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Deploy the checkout. Raises `CommandError`; CloudFormation rolls a failed deployment back.

        An `immediate` deployment moves all traffic at once, and no alarm stops it. `parameters` replace those
        of samconfig.toml.
        """
        self._run(checkout, "build", "--config-env", config_env)
        build_folder = checkout / ".aws-sam" / "build"
        self._compile(build_folder)
        if self.gradual_strategy:
            strategy = None if immediate else self.gradual_strategy
            mark = f"{release[:_COMMIT_DIGITS]}-{secrets.token_hex(4)}"
            gradual.rewrite_template(build_folder / "template.yaml", strategy, mark)
        # SAM takes the built template by itself; by --template-file, it looks for samconfig.toml beside that.
        self._run(
            checkout,
            *("deploy", "--config-env", config_env),
            *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            *self.deploy_arguments,
            *_write_overrides(checkout, parameters),
        )

    def _compile(self, folder: Path) -> None:
        """Compile the functions and their packages, which Lambda would do in each cold start."""
        command = (self.bin_folder / "python3.13", "-m", "compileall", "-q")
        if subprocess.run(
            [*command, "--invalidation-mode", "unchecked-hash", folder], check=False
        ).returncode:
            raise CommandError(f"compiling the functions in {folder} failed")

    def _run(self, checkout: Path, *arguments: str) -> None:
        environment = os.environ | {
            "PATH": f"{self.bin_folder}:{os.environ['PATH']}",
            "SAM_CLI_TELEMETRY": "0",
        }
        result = subprocess.run(
            [self.bin_folder / "sam", *arguments], cwd=checkout, env=environment, check=False
        )
        if result.returncode:
            raise CommandError(f"sam {arguments[0]} failed with exit code {result.returncode}")


def _write_overrides(checkout: Path, parameters: Mapping[str, str] | None) -> tuple[str, ...]:
    """Write the parameters to a file and return the arguments of `sam deploy` for it.

    SAM cannot parse all values on the command line. JSON is YAML, which is one of the formats that it reads.
    """
    if parameters is None:
        return ()
    path = checkout / ".aws-sam" / "parameters.yaml"
    path.write_text(json.dumps(dict(parameters), ensure_ascii=False), encoding="utf-8")
    return "--parameter-overrides", f"file://{path}"
