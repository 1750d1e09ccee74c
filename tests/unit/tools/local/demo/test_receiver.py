import json
from datetime import UTC, datetime

import requests
from standardwebhooks import Webhook

from tools.local.demo.receiver import open_inbox

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_bm90IHRoZSBzZWNyZXQ="


def _post(url: str, body: str, secret: str) -> int:
    """Send a webhook signed with the secret and return the status of the response."""
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }
    return requests.post(url, data=body, headers=headers, timeout=5).status_code


def test_webhook_with_valid_signature_is_accepted_and_found_by_job() -> None:
    with open_inbox(SECRET) as inbox:
        assert _post(inbox.url, json.dumps({"id": "01abc", "status": "succeeded"}), SECRET) == 204

    delivery = inbox.find_final_delivery("01abc")
    assert delivery is not None
    assert delivery[1]["status"] == "succeeded"
    assert inbox.find_final_delivery("01other") is None


def test_webhook_with_another_secret_is_rejected() -> None:
    with open_inbox(SECRET) as inbox:
        assert _post(inbox.url, json.dumps({"id": "01abc", "status": "succeeded"}), OTHER_SECRET) == 401

    assert inbox.find_final_delivery("01abc") is None
    assert len(inbox.rejections) == 1
