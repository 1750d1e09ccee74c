"""The size of a response as Lambda sends it, which is what its limit is about. No I/O."""

from __future__ import annotations

import json

# A response has at most 6 MB (AWS Lambda, quotas): 6,291,556 bytes with the JSON of status and headers.
MAX_RESPONSE_BYTES = 6_000_000


def calculate_sent_bytes(body: str) -> int:
    """Return the size of a body as Lambda sends it: as a JSON string, in which quotes are escaped.

    A body that is JSON itself grows by a byte for each of its quotes and backslashes.
    """
    return len(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
