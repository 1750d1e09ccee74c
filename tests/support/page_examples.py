"""The examples in the pages: which there are, and which of them cannot run against a local stack."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.local.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PATTERNS = ("*.md", "docs/**/*.md", "events/*.md", "examples/*.md", "tools/*/README.md")
_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE
)

_AWS = "needs an AWS account"
_LONG = "takes minutes and has a test or a target of its own"
_FRAGMENT = "a part of a receiver; the tests run the whole receivers of examples/"

NOT_RUN: Mapping[tuple[str, str], str] = {
    ("CONTRIBUTING.md", "make env"): "installs a hook in this repository",
    ("README.md", "make demo    # run one prediction end to end on a local AWS and a local Replicate"): _LONG,
    ("README.md", 'make demo PROMPT="a red bicycle" MODEL=black-forest-labs/flux-1.1-pro'): _LONG,
    ("README.md", 'make env && export PATH="$PWD/.venvs/sam/bin:$PATH"'): _AWS,
    (
        "docs/chaos.md",
        "make chaos                      # 1,000 jobs, seed 1: 12 to 18 minutes on two cores",
    ): _LONG,
    ("docs/chaos.md", ".venv/bin/python -m tools.chaos --jobs 200 --keep"): _LONG,
    ("docs/deploying.md", "make env"): _AWS,
    (
        "docs/deploying.md",
        "read -rs REPLICATE_API_TOKEN     # paste the token; it stays out of the shell's history",
    ): _AWS,
    ("docs/deploying.md", "SECRET=$(curl -sf https://api.replicate.com/v1/webhooks/default/secret \\"): _AWS,
    ("docs/deploying.md", "sam build"): _AWS,
    ("docs/deploying.md", 'output() { aws cloudformation describe-stacks --stack-name "$STACK" \\'): _AWS,
    ("docs/deploying.md", "ADMIN_KEY=$(.venv/bin/python -m tools.cli.first_admin_key \\"): _AWS,
    ("docs/deploying.md", "sam build --config-env dev && sam deploy --config-env dev"): _AWS,
    (
        "docs/deploying.md",
        "export PROXY_API_KEY=$KEY     # predictions:read and predictions:write, of a tenant of its own",
    ): _AWS,
    (
        "docs/deploying.md",
        "make release GRADUAL=Canary10Percent5Minutes    # or another strategy of CodeDeploy",
    ): _AWS,
    ("docs/deploying.md", 'TABLES="$(output JobsTableName) $(output AccessTableName)"'): _AWS,
    (
        "docs/operations.md",
        "aws logs filter-log-events --log-group-name /aws/lambda/replicate-proxy-harvest \\",
    ): _AWS,
    ("docs/security.md", ".venv/bin/python -m tools.cli.first_admin_key \\"): _AWS,
    ("docs/security.md", "aws secretsmanager put-secret-value --secret-id <SigningSecretArn> \\"): _AWS,
    ("docs/webhooks.md", "from standardwebhooks import Webhook  # pip install standardwebhooks"): _FRAGMENT,
    ("docs/webhooks.md", 'import { validateWebhook } from "replicate"; // npm install replicate'): _FRAGMENT,
}
"""Examples that cannot run against a local stack, by page and first line, with the reason."""


@dataclass(frozen=True)
class Example:
    """A fenced block of a page; `line` is the number of its first line of code."""

    page: str
    line: int
    language: str
    code: str

    @property
    def is_run(self) -> bool:
        return self.key not in NOT_RUN

    @property
    def key(self) -> tuple[str, str]:
        return self.page, self.code.partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def list_pages() -> list[Path]:
    return sorted({page for pattern in PATTERNS for page in ROOT.glob(pattern)})


def list_examples(*languages: str) -> list[Example]:
    """Return the examples in these languages, in the order of the pages."""
    return [
        example for page in list_pages() for example in _iterate_blocks(page) if example.language in languages
    ]


def _iterate_blocks(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        yield Example(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, block.start("code")) + 1,
            language=block["language"],
            code=textwrap.dedent(block["code"]),
        )
