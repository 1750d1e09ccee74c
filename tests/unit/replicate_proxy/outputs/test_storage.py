"""Names, keys and headers of stored files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.outputs.file_types import detect_file_type
from replicate_proxy.outputs.storage import (
    ObjectLocation,
    build_base_name,
    build_content_disposition,
    build_job_folder,
    build_object_key,
    build_private_folder,
    build_tenant_folder,
    choose_extension,
    list_job_prefixes,
)


class TestNames:
    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("https://x/a/out-0.png", "out-0"),
            ("https://x/a/out", "out"),
            ("https://x/a/..%2F..%2Fetc%2Fpasswd", "passwd"),
            ("https://x/a/%22%0d%0aevil.png", "evil"),
            ("https://x/", "output"),
            ("https://x/" + "a" * 200 + ".png", "a" * 60),
            ("https://x/日本.png", "output"),
            ("data:image/png;base64,AA", "output"),
            ("https://[", "output"),
        ],
    )
    def test_base_name_has_only_safe_characters(self, url: str, name: str) -> None:
        assert build_base_name(url) == name

    @pytest.mark.parametrize(
        ("url", "content", "extension"),
        [
            ("https://x/a.html", b"\x89PNG\r\n\x1a\n", "png"),
            ("https://x/a.obj", b"v 0 0 0\n", "obj"),
            ("https://x/a.srt", b"1\n00:00", "srt"),
            ("https://x/a.npz", b"PK\x03\x04", "npz"),
            ("https://x/a.html", b"harmless text", "txt"),
            ("https://x/a.js", b"alert(1)", "txt"),
            ("https://x/a.png", b"only text", "txt"),
            ("https://x/a.svg", b"<svg >", "svg"),
            ("https://x/a", b"\0\1", "bin"),
            ("https://x/a.toolongtobeanextension", b"\0\1", "bin"),
            ("https://x/a.safetensors", b"\0\1", "safetensors"),
        ],
    )
    def test_extension_is_detected_or_harmless(self, url: str, content: bytes, extension: str) -> None:
        assert choose_extension(url, detect_file_type(content)) == extension

    @given(st.text(max_size=80))
    def test_name_of_any_url_needs_no_escaping(self, path: str) -> None:
        url = "https://x/" + path
        name = f"{build_base_name(url)}.{choose_extension(url, detect_file_type(b'text'))}"

        assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        assert name.isascii()
        assert build_content_disposition(name, is_inline=False) == f'attachment; filename="{name}"'


class TestObjectKey:
    location = ObjectLocation(tenant="t", job_id="j", path=(0,))

    def build_key(self, *, sha256: str = "ab", **location: Any) -> str:
        return build_object_key(
            b"secret", "outputs", replace(self.location, **location), sha256=sha256, name="out.webp"
        )

    def test_key_is_the_same_for_the_same_file(self) -> None:
        assert self.build_key() == self.build_key()
        assert self.build_key().startswith("outputs/")
        assert self.build_key().endswith("/out.webp")
        assert [len(part) for part in self.build_key().split("/")[1:-1]] == [32, 32, 40]

    @pytest.mark.parametrize(
        "changes",
        [
            {"tenant": "u"},
            {"job_id": "k"},
            {"path": (1,)},
            {"path": ("0",)},
            {"path": (0, 0)},
            {"sha256": "ac"},
        ],
    )
    def test_key_depends_on_location_and_content(self, changes: dict[str, Any]) -> None:
        assert self.build_key(**changes).split("/")[3] != self.build_key().split("/")[3]

    def test_files_of_a_job_have_a_folder_of_their_own(self) -> None:
        prefixes = list_job_prefixes(b"secret", "t", "j")
        others = [build_job_folder(b"secret", "t", "k"), build_job_folder(b"secret", "u", "j")]

        assert prefixes == [
            f"{name}/{build_job_folder(b'secret', 't', 'j')}"
            for name in ("outputs", "originals", "thumbs", "private")
        ]
        assert self.build_key().startswith(prefixes[0])
        assert self.build_key(sha256="ac").startswith(prefixes[0])
        assert not any(self.build_key().startswith(f"outputs/{folder}") for folder in others)
        assert self.build_key(job_id="k").startswith(f"outputs/{build_tenant_folder(b'secret', 't')}")

    def test_private_outputs_and_thumbnails_are_in_one_folder_of_the_job(self) -> None:
        location = replace(self.location, is_private=True)
        keys = {
            prefix: build_object_key(b"secret", prefix, location, sha256="ab", name="out.webp")
            for prefix in ("outputs", "thumbs", "originals")
        }
        folder = build_private_folder(b"secret", location.tenant, location.job_id)

        assert folder.startswith("private/")
        assert keys["outputs"].startswith(folder)
        assert keys["thumbs"].startswith(folder)
        assert keys["outputs"] != keys["thumbs"]
        assert keys["originals"].startswith("originals/")

    def test_key_depends_on_secret(self) -> None:
        guessed = build_object_key(b"guess", "outputs", self.location, sha256="ab", name="out.webp")
        assert guessed != self.build_key()
