import json
from datetime import UTC, datetime

import requests
from standardwebhooks import Webhook

from tools.local.demo.receiver import open_inbox

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _headers(body: str, secret: str = SECRET) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", now, body)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }


def test_a_signed_call_is_taken_and_its_job_found() -> None:
    body = json.dumps({"id": "01abc", "status": "succeeded"})
    with open_inbox(SECRET) as inbox:
        assert requests.post(inbox.url, data=body, headers=_headers(body), timeout=5).status_code == 204

    found = inbox.find_final_delivery("01abc")
    assert found is not None
    assert found[1]["status"] == "succeeded"
    assert inbox.find_final_delivery("01other") is None


def test_a_forged_call_is_refused_and_not_kept() -> None:
    body = json.dumps({"id": "01abc", "status": "succeeded"})
    forged = _headers(body, secret="whsec_bm90IHRoZSBzZWNyZXQ=")
    with open_inbox(SECRET) as inbox:
        assert requests.post(inbox.url, data=body, headers=forged, timeout=5).status_code == 401

    assert inbox.find_final_delivery("01abc") is None
    assert len(inbox.rejections) == 1
