"""The system's Chromium, driven by Playwright, and what the tests of the console ask it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

AXE = Path(__file__).parent / "axe/node_modules/axe-core/axe.min.js"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_TIMEOUT_MS = 60_000.0


def find_browser() -> str | None:
    """Return the path of a Chromium, None if none is installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def run_browser(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Console:
    """The console in a browser; `complaints` are errors and violations of the policy that the browser logged.

    A response of 4xx is logged as an error, too: tests that ask for one expect it.
    """

    url: str
    context: BrowserContext
    page: Page = field(init=False)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(_TIMEOUT_MS)
        self.page = self.context.new_page()
        self.page.on("console", self._record)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _record(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def open(self, path: str = "") -> int:
        """Load a page and return its status."""
        response = self.page.goto(f"{self.url}{path}")
        assert response is not None
        return response.status

    def sign_in(self, key: str) -> None:
        self.open("/sign-in")
        self.page.fill("#key", key)
        self.page.click("main button")
        self.page.wait_for_selector("nav.main")

    def get_text(self) -> str:
        return self.page.inner_text("main")

    def measure_overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def find_accessibility_violations(self, *, only_colors: bool = False) -> list[str]:
        """Return the violations that axe-core finds, or only those of rules that colors can break.

        The protocol of the browser runs the script, so that the policy of the page, which would not let it
        in, stays as it is.
        """
        rules = ", runOnly: ['color-contrast', 'link-in-text-block']" if only_colors else ""
        run = f"axe.run(document, {{resultTypes: ['violations']{rules}}}).then(r => r.violations)"
        if not only_colors:
            self._evaluate(AXE.read_text(encoding="utf-8") + "; 0")
        return [
            f"{self.page.url}: {violation['id']} {[node['target'] for node in violation['nodes']][:3]}"
            for violation in self._evaluate(run)
        ]

    def _evaluate(self, script: str) -> Any:
        session = self.context.new_cdp_session(self.page)
        options = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = session.send("Runtime.evaluate", options)
        session.detach()
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"]["value"]
