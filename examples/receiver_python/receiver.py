"""Receive webhooks, verify their signatures, and print each event once.

pip install standardwebhooks && WEBHOOK_SECRET=whsec_… PORT=8000 python receiver.py
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

secret = os.environ.get("WEBHOOK_SECRET", "")
if not secret.startswith("whsec_"):
    sys.exit("set WEBHOOK_SECRET to the signing secret, which begins with whsec_")
webhook = Webhook(secret)
# An application stores the IDs in the same transaction as the effects of the event.
processed_ids: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            prediction = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            return self.respond(400)
        if self.headers["webhook-id"] not in processed_ids:  # a retry has the same ID
            processed_ids.add(self.headers["webhook-id"])
            fields = {name: prediction.get(name) for name in ("id", "status", "output")}
            print(json.dumps({"event": prediction["proxy"]["event"], **fields}), flush=True)
        return self.respond(204)

    def respond(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
