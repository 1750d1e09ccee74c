"""`sam build` and `sam deploy` of one checkout, as the README tells a person to do it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.release import gradual
from tools.release.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Sam:
    """`programs` is the folder of sam and of a python3.13 with pip; `more` goes to `sam deploy` as it is."""

    programs: Path
    strategy: str | None = None
    more: Sequence[str] = ()

    def deploy(self, checkout: Path, config_env: str, release: str) -> None:
        """Raises `CommandError`. CloudFormation takes a failed deployment back by itself."""
        self._run(checkout, "build", "--config-env", config_env)
        built = checkout / ".aws-sam" / "build" / "template.yaml"
        if self.strategy:
            gradual.rewrite_template(built, self.strategy, release)
        self._run(
            checkout,
            *("deploy", "--config-env", config_env, "--template-file", str(built)),
            *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            *self.more,
        )

    def _run(self, checkout: Path, *arguments: str) -> None:
        environment = os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"}
        done = subprocess.run([self.programs / "sam", *arguments], cwd=checkout, env=environment, check=False)
        if done.returncode:
            raise CommandError(f"sam {arguments[0]} failed with exit code {done.returncode}")
