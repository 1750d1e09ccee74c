"""The files of the console: the vendored htmx, and names that change with the content."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from replicate_proxy.console.templates import Templates

FOLDER = Path(__file__).parents[4] / "functions/console"
# The file dist/htmx.min.js of the npm package htmx.org 2.0.11 (Zero-Clause BSD, static/htmx-LICENSE.txt).
HTMX_SHA256 = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"


# The files swagger-ui-bundle.js and swagger-ui.css of the npm package swagger-ui-dist 5.35.0 (Apache 2.0,
# static/swagger-ui-LICENSE.txt; the licenses of what the bundle includes are in -bundle-LICENSES.txt).
SWAGGER_UI_SHA256 = {
    "swagger-ui-bundle-5.35.0.min.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-5.35.0.min.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


@pytest.mark.parametrize("name", SWAGGER_UI_SHA256)
def test_viewer_of_the_api_document_is_the_published_one(name: str) -> None:
    data = (FOLDER / "static" / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == SWAGGER_UI_SHA256[name]


def test_htmx_is_the_published_file() -> None:
    data = (FOLDER / "static/htmx-2.0.11.min.js").read_bytes()
    assert hashlib.sha256(data).hexdigest() == HTMX_SHA256


def test_name_of_file_changes_with_its_content() -> None:
    templates = Templates(FOLDER)
    (name,) = re.findall(r"console\.[0-9a-f]{12}\.css", " ".join(templates._files))
    file = templates.find_file(name)
    assert file is not None
    assert hashlib.sha256(file.text.encode()).hexdigest().startswith(name.split(".")[1])
    assert templates.find_file("console.css") is None


def test_templates_escape_all_values() -> None:
    environment = Templates(FOLDER)._environment
    assert environment.from_string("{{ value }}").render(value="<b>") == "&lt;b&gt;"
    for path in (FOLDER / "templates").iterdir():
        source = path.read_text(encoding="utf-8")
        environment.parse(source)
        assert not re.search(r"\|\s*safe\b|autoescape", source), path.name
