"""The small pure parts: hosts, names, keys, options, data URIs, records, settings."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.config import Env
from replicate_proxy.images.options import ImageOptions, InvalidImageOptionError
from replicate_proxy.outputs.fetch import FileUnobtainableError, HostAllowlist, decode_data_uri
from replicate_proxy.outputs.file_types import detect_file_type
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.outputs.settings import HarvestSettings
from replicate_proxy.outputs.storage import (
    build_base_name,
    build_content_disposition,
    build_object_key,
    choose_extension,
)


class TestHosts:
    @pytest.mark.parametrize(
        "host", ["replicate.delivery", "pbxt.replicate.delivery", "A.B.Replicate.Delivery."]
    )
    def test_replicates_own_are_allowed(self, host: str) -> None:
        assert HostAllowlist()(host)

    @pytest.mark.parametrize(
        "host",
        [
            "evilreplicate.delivery",
            "replicate.delivery.evil.com",
            "delivery",
            "",
            "replicate-delivery.com",
            "127.0.0.1",
        ],
    )
    def test_no_others_are(self, host: str) -> None:
        assert not HostAllowlist()(host)

    def test_a_star_allows_all_and_a_pattern_not_the_name_itself(self) -> None:
        assert HostAllowlist(["*"])("storage.googleapis.com")
        assert HostAllowlist(["*.example.com"])("a.example.com")
        assert not HostAllowlist(["*.example.com"])("example.com")
        assert not HostAllowlist([" ", ""])("example.com")


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
    def test_base_names(self, url: str, name: str) -> None:
        assert build_base_name(url) == name

    @pytest.mark.parametrize(
        ("url", "content", "expected"),
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
    def test_extensions(self, url: str, content: bytes, expected: str) -> None:
        assert choose_extension(url, detect_file_type(content)) == expected

    @given(st.text(max_size=80))
    def test_any_url_makes_a_name_that_needs_no_escaping(self, tail: str) -> None:
        url = "https://x/" + tail
        name = f"{build_base_name(url)}.{choose_extension(url, detect_file_type(b'text'))}"

        assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        assert name.isascii()
        assert build_content_disposition(name, inline=False) == f'attachment; filename="{name}"'


class TestKeys:
    def key(self, **changes: object) -> str:
        given: dict[str, object] = {
            "tenant": "t",
            "job_id": "j",
            "path": (0,),
            "sha256": "ab",
            "name": "out.webp",
        }
        return build_object_key(b"secret", "outputs", **(given | changes))  # type: ignore[arg-type] # one dict, many types

    def test_a_repeat_finds_the_same_key(self) -> None:
        assert self.key() == self.key()
        assert self.key().startswith("outputs/")
        assert self.key().endswith("/out.webp")
        assert len(self.key().split("/")[1]) == 40

    @pytest.mark.parametrize(
        "change",
        [
            {"tenant": "u"},
            {"job_id": "k"},
            {"path": (1,)},
            {"path": ("0",)},
            {"path": (0, 0)},
            {"sha256": "ac"},
        ],
    )
    def test_everything_that_tells_files_apart_changes_it(self, change: dict[str, object]) -> None:
        assert self.key(**change).split("/")[1] != self.key().split("/")[1]

    def test_it_cannot_be_made_without_the_secret(self) -> None:
        other = build_object_key(
            b"guess", "outputs", tenant="t", job_id="j", path=(0,), sha256="ab", name="out.webp"
        )
        assert other != self.key()


class TestOptions:
    def test_texts_override_the_base(self) -> None:
        base = ImageOptions(format="avif", keep_copyright=True)

        assert ImageOptions.parse(defaults=base) == base
        assert ImageOptions.parse(format=" JPG ", quality="90", defaults=base) == ImageOptions(
            "jpeg", 90, keep_copyright=True
        )

    @pytest.mark.parametrize("quality", ["0", "101", "-1", "8.5", "high", "", "٣", 0, 1000])
    def test_qualities_that_are_none(self, quality: str | int) -> None:
        with pytest.raises(InvalidImageOptionError) as caught:
            ImageOptions.parse(quality=quality)
        assert caught.value.field == "quality"

    @pytest.mark.parametrize("name", ["", "png", "webp2", "../webp"])
    def test_formats_that_are_none(self, name: str) -> None:
        with pytest.raises(InvalidImageOptionError) as caught:
            ImageOptions.parse(format=name)
        assert caught.value.field == "format"


class TestDataUris:
    @given(st.binary(max_size=200))
    def test_base64_comes_back(self, content: bytes) -> None:
        uri = "data:image/png;base64," + base64.b64encode(content).decode()
        assert decode_data_uri(uri, max_bytes=200) == content
        assert decode_data_uri(uri.rstrip("="), max_bytes=200) == content

    def test_percent_encoding_and_url_safe_alphabet(self) -> None:
        assert decode_data_uri("data:,a%20b%00", max_bytes=10) == b"a b\0"
        assert decode_data_uri("data:;base64,_-8%3D", max_bytes=10) == b"\xff\xef"

    @pytest.mark.parametrize("uri", ["data:image/png;base64,***", "data:nothing", "data:;base64,A"])
    def test_what_cannot_be_decoded_is_left(self, uri: str) -> None:
        with pytest.raises(FileUnobtainableError, match="bad_data_uri"):
            decode_data_uri(uri, max_bytes=100)

    @pytest.mark.parametrize("uri", ["data:," + "a" * 11, "data:;base64," + "A" * 100])
    def test_what_is_too_large_is_left(self, uri: str) -> None:
        with pytest.raises(FileUnobtainableError, match="too_large"):
            decode_data_uri(uri, max_bytes=10)

    @given(st.text(max_size=60))
    def test_any_text_decodes_or_is_left(self, text: str) -> None:
        for uri in (f"data:{text}", f"data:;base64,{text}"):
            try:
                decode_data_uri(uri, max_bytes=1000)
            except FileUnobtainableError:
                continue


class TestRecords:
    def test_they_survive_json(self) -> None:
        record = FileRecord(
            ("a", 0),
            FileOutcome.NOT_STORED,
            "https://x/a",
            reason="too_slow",
            text={"seed": "1"},
            retryable=True,
        )

        assert FileRecord.from_json(record.to_json()) == record

    def test_what_is_empty_is_not_told(self) -> None:
        assert FileRecord((), FileOutcome.STORED, "https://x").to_json() == {
            "path": [],
            "outcome": "stored",
            "url": "https://x",
            "kind": "unknown",
        }

    def test_fields_of_a_later_version_are_passed_over(self) -> None:
        assert (
            FileRecord.from_json({"path": [], "outcome": "not_stored", "url": "u", "colour": "red"}).url
            == "u"
        )

    def test_a_result_knows_whether_to_go_on(self) -> None:
        left = FileRecord((0,), FileOutcome.NOT_STORED, "u", retryable=True)

        assert HarvestResult([], (left,)).is_complete
        assert HarvestResult([], (left,)).has_retryable_files
        assert not HarvestResult([], (), remaining=((0,),)).is_complete


def test_settings_come_from_the_environment() -> None:
    settings = HarvestSettings.from_env(Env({"HARVEST_MAX_FILE_MB": "5", "KEEP_ORIGINALS": "false"}))

    assert settings.max_file_bytes == 5 * 1024 * 1024
    assert not settings.keep_originals
    assert HarvestSettings.from_env(Env({})) == HarvestSettings()
