"""Receives webhooks, verifies them, and prints each event once.

pip install standardwebhooks && WEBHOOK_SECRET=whsec_… PORT=8000 python receiver.py
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen: set[str] = set()  # an application keeps these with what it does about the event, in one transaction


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            prediction = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            return self.answer(400)
        if self.headers["webhook-id"] not in seen:  # a retry after a lost answer carries the same id
            seen.add(self.headers["webhook-id"])
            told = {name: prediction[name] for name in ("id", "status", "output")}
            print(json.dumps({"event": prediction["proxy"]["event"], **told}), flush=True)
        return self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
