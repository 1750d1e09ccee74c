"""Which URLs may be called, before any name is resolved."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.net.addresses import AddressPolicy, escape_blanks, parse_url
from replicate_proxy.net.errors import ForbiddenUrlError

STRICT = AddressPolicy()
LOCAL = AddressPolicy(allow_loopback=True)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://replicate.delivery/a/b.png?x=1", "replicate.delivery", 443),
        ("https://Replicate.Delivery./a", "replicate.delivery", 443),
        ("HTTPS://a-b.example.com:443/", "a-b.example.com", 443),
        ("https://bücher.example/", "xn--bcher-kva.example", 443),
        ("https://8.8.8.8/", "8.8.8.8", 443),
        ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111", 443),
        ("https://faß.example/", "xn--fa-hia.example", 443),
        ("https://BÜCHER.example/", "xn--bcher-kva.example", 443),
        ("https://b\u0075\u0308cher.example/", "xn--bcher-kva.example", 443),
        ("https://xn--fa-hia.example/", "xn--fa-hia.example", 443),
    ],
)
def test_parse_url_accepts_plain_https(url: str, host: str, port: int) -> None:
    parsed = parse_url(url, STRICT)

    assert (parsed.host, parsed.port) == (host, port)


@pytest.mark.parametrize(
    ("url", "normalized"),
    [
        ("https://a.example", "https://a.example/"),
        ("HTTPS://A.Example.:443/B?c=D#e", "https://a.example/B?c=D"),
        ("https://faß.example/straße?ß", "https://xn--fa-hia.example/stra%C3%9Fe?%C3%9F"),
        ("https://[2606:4700:4700:0::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://a.example/%7Eb%zz%20c/../d", "https://a.example/%7Eb%25zz%20c/../d"),
        ("https://a.example/a;b=(c)'d'!*,@:+$&=~", "https://a.example/a;b=(c)'d'!*,@:+$&=~"),
        ('https://a.example?x={"y"}', "https://a.example/?x=%7B%22y%22%7D"),
        ("https://a.example//b", "https://a.example//b"),
    ],
)
def test_parse_url_returns_the_url_to_call(url: str, normalized: str) -> None:
    assert parse_url(url, STRICT).url == normalized
    assert parse_url(normalized, STRICT).url == normalized


def test_escape_blanks_escapes_what_is_inside() -> None:
    assert escape_blanks(" https://a.b/my file\u3000.png\n") == "https://a.b/my%20file%E3%80%80.png"


@pytest.mark.parametrize(
    "url",
    [
        "http://replicate.delivery/a",  # not https
        "ftp://replicate.delivery/a",
        "file:///etc/passwd",
        "gopher://127.0.0.1:70/",
        "https:///path",  # no host
        "https://",
        "https://user@replicate.delivery/",
        "https://user:pass@replicate.delivery/",
        "https://replicate.delivery@127.0.0.1/",
        "https://replicate.delivery:8443/",
        "https://replicate.delivery:99999/",
        "https://replicate.delivery:x/",
        "https://127.0.0.1/",
        "https://2130706433/",  # decimal 127.0.0.1
        "https://0x7f000001/",  # hexadecimal
        "https://0177.0.0.1/",  # octal
        "https://0x7f.0.0.1/",
        "https://127.1/",  # short
        "https://127.0.0.1./",
        "https://192.168.010.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://１２７.0.0.1/",  # full-width digits
        "https://127。0。0。1/",  # ideographic full stops
        "https://replicate.delivery\\@127.0.0.1/",
        "https://replicate.delivery\t/",
        "https://replicate.delivery/a b",
        "https://replicate.delivery/\n",
        "https://replicate..delivery/",
        "https://-replicate.delivery/",
        "https://" + "a" * 64 + ".com/",
        "https://" + "a." * 130 + "com/",
        "https://replicate.delivery/" + "a" * 5000,
        "https://☃.net/hook",
        "https://ex\u200damp.com/",  # joiner
        "https://ex\u200camp.com/",
        "https://ex\u00adample.com/",  # soft hyphen
        "https://example。com/",
        "https://a_b.bücher.example/",
        "https://xn--\u00e4.example/",
        "https://" + "ü" * 300 + ".example/",
        "https://[v1.a]/",
        "https://[example.com]/",
        "https://localhost/",
        "https://app.localhost./",
        "https://\ud800.example/",
        "https://a.example/\ud800",
        " https://replicate.delivery/",
        "https:// replicate.delivery/",
        "replicate.delivery/a",
        "//replicate.delivery/a",
        "",
    ],
)
def test_parse_url_rejects_any_other_url(url: str) -> None:
    with pytest.raises(ForbiddenUrlError):
        parse_url(url, STRICT)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost", "files.localhost"])
def test_parse_url_with_loopback_policy_accepts_http_and_any_port_on_loopback(host: str) -> None:
    parsed = parse_url(f"http://{host}:8123/file.png", LOCAL)

    assert (parsed.scheme, parsed.host, parsed.port) == ("http", host.strip("[]"), 8123)


@pytest.mark.parametrize("host", ["10.0.0.1", "8.8.8.8", "[2606:4700:4700::1111]", "app.example"])
def test_parse_url_with_loopback_policy_rejects_http_to_others(host: str) -> None:
    with pytest.raises(ForbiddenUrlError, match="not allowed"):
        parse_url(f"http://{host}:8123/", LOCAL)


@given(st.text(max_size=200))
def test_parse_url_accepts_or_rejects_any_text(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/x", f"https://a.example:{text}"):
        try:
            parsed = parse_url(url, STRICT)
        except ForbiddenUrlError:
            continue
        assert parsed.scheme == "https"
        assert parsed.port == 443
        assert parsed.host
        assert parsed.url.isascii()
        assert parse_url(parsed.url, STRICT) == parsed
        # requests finds the same host in it.
        request = requests.Request("GET", parsed.url).prepare()
        assert urlsplit(request.url).hostname == parsed.host
