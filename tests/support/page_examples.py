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

_INLINE_CODE = re.compile(r"`([^`]+)`")
_FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)

_LONG = "takes minutes and has a test or a target of its own"
_FRAGMENT = "a part of a receiver; the tests run the whole receivers of examples/"

NOT_RUN: Mapping[tuple[str, str], str] = {
    ("docs/proxyctl.md", "uv tool install .              # or: pip install ."): "installs in the home folder",
    (
        "docs/models.md",
        """admin tenants/acme/replicate-token -X PUT -d '{"token": "r8_…"}'""",
    ): "needs a token",
    ("docs/operations.md", "proxyctl jobs cancel <job>"): "needs a prediction for each action",
    ("docs/operations.md", "export PROXY_API_KEYS=rp_…,rp_…"): "loads a deployed stack",
    ("docs/operations.md", "proxyctl tenants show acme"): "erases the tenant of the other examples",
    (
        "docs/operations.md",
        "proxyctl replays start --from 2026-11-23T08:00:00Z --to 2026-11-23T09:00:00Z   # --rule harvest",
    ): "needs an archive, which the local AWS has not",
    (
        "docs/operations.md",
        "proxyctl bulk start retry --tenant acme --error-class no_credit --wait",
    ): "needs predictions that match, and asks for confirmation",
    ("CONTRIBUTING.md", "make env"): "installs a hook in this repository",
    ("README.md", "make demo    # run one prediction end to end on a local AWS and a local Replicate"): _LONG,
    ("README.md", 'make demo PROMPT="a red bicycle" MODEL=black-forest-labs/flux-1.1-pro'): _LONG,
    ("docs/chaos.md", "make chaos                      # 1,000 jobs, seed 1"): _LONG,
    ("docs/chaos.md", ".venv/bin/python -m tools.chaos --jobs 200 --keep"): _LONG,
    (
        "docs/chaos.md",
        "make batch-load                 # 10,000 lines: half an hour on two slow cores",
    ): _LONG,
    (
        "docs/performance.md",
        "make bench-compare PART=pipeline REPEATS=3    # what has changed; stores nothing",
    ): _LONG,
    (
        "docs/tuning.md",
        ".venv/bin/python -m tools.bench imports    # cold starts, with the packages that functions load",
    ): _LONG,
    (
        "docs/tuning.md",
        "make tune                       # all functions, about ten minutes on two idle cores",
    ): _LONG,
    ("docs/webhooks.md", "from standardwebhooks import Webhook  # pip install standardwebhooks"): _FRAGMENT,
    ("docs/webhooks.md", 'import { validateWebhook } from "replicate"; // npm install replicate'): _FRAGMENT,
}
"""Examples that are not run although they could be, by page and first line, with the reason."""

# The AWS CLI, SAM, outputs of a stack on AWS, and Replicate itself.
_NEEDS_AWS = re.compile(
    r"^(?:.*\$\()?\s*(?:aws|sam) |\$\(output |\bmake release\b|tools\.cli\.first_admin_key"
    r"|api\.replicate\.com|AWS_REGION=",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Example:
    """A fenced block of a page; `line` is the number of its first line of code."""

    page: str
    line: int
    language: str
    code: str

    @property
    def is_run(self) -> bool:
        return self.key not in NOT_RUN and not self.needs_aws

    @property
    def needs_aws(self) -> bool:
        return self.language == "sh" and _NEEDS_AWS.search(self.code) is not None

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


def list_commands(program: str, page: Path) -> list[str]:
    """Return the commands of a program in a page, in shell examples and in sentences."""
    text = page.read_text(encoding="utf-8")
    shell = (block.code for block in _iterate_blocks(page) if block.language == "sh")
    lines = [line for code in shell for line in code.replace("\\\n", " ").splitlines()]
    # A command may be broken between two lines of a paragraph.
    inline = [re.sub(r"\s+", " ", code) for code in _INLINE_CODE.findall(_FENCE.sub("", text))]
    return [command for command in lines + inline if command.startswith(f"{program} ")]


def _iterate_blocks(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        yield Example(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, block.start("code")) + 1,
            language=block["language"],
            code=textwrap.dedent(block["code"]),
        )
