"""What a browser makes of output files with the headers that CloudFront adds to them."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from playwright.sync_api import Browser

from tests.support.loopback import send_response, serve_http
from tools.template.stack import read_template

SHOW_STATE = "document.querySelector('video').readyState"
HAVE_ENOUGH_DATA = 4  # HTML Standard, media elements


def serve(body: bytes, content_type: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Serve a file as CloudFront does: with the CORS header if the request has an origin."""
    policy = read_template()["Resources"]["OutputsResponseHeadersPolicy"]["Properties"]
    config = policy["ResponseHeadersPolicyConfig"]
    security = config["SecurityHeadersConfig"]["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    [origin] = config["CorsConfig"]["AccessControlAllowOrigins"]["Items"]

    def respond(handler: BaseHTTPRequestHandler) -> None:
        send_response(
            handler,
            body,
            Content_Type=content_type,
            Content_Security_Policy=security,
            X_Content_Type_Options="nosniff",
            **({"Access_Control_Allow_Origin": origin} if "Origin" in handler.headers else {}),
        )

    return respond


def make_sound() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\x20\0\xe0" * 4000)
    return content.getvalue()


def test_sound_plays_when_its_url_is_opened(browser: Browser) -> None:
    page = browser.new_page()
    with serve_http(serve(make_sound(), "audio/wav")) as server:
        page.goto(server.url("/sound.wav"))
        page.wait_for_function(f"{SHOW_STATE} === {HAVE_ENOUGH_DATA}", timeout=10_000)


def test_page_of_a_model_runs_no_script_and_loads_nothing(browser: Browser) -> None:
    body = (
        b"<title>a</title><script>document.title = 'b'</script><img src=/c onerror=\"document.title = 'd'\">"
    )
    page = browser.new_page()
    with serve_http(serve(body, "text/html")) as server:
        page.goto(server.url("/page.html"))
        page.wait_for_timeout(500)
        assert page.title() == "a"
        assert [request.path for request in server.requests if request.path == "/c"] == []
