"""What the output of `sam local invoke` says: the response, and whether the function did its work."""

import contextlib
import json
from dataclasses import dataclass
from typing import Any

_SERVER_ERROR = 500


@dataclass(frozen=True)
class Outcome:
    """The response of the function, None if there is none; `failure` says why it did not do its work."""

    response: Any
    failure: str | None


def read_outcome(output: str, sam_exit_code: int) -> Outcome:
    """Read what SAM wrote to its standard output.

    SAM exits with 0 even if the function fails or does not end in time; then there is an error object or no
    output at all.
    """
    text = output.strip()
    if sam_exit_code != 0:
        return Outcome(None, f"sam local invoke ended with exit code {sam_exit_code}")
    if not text:
        return Outcome(None, "the function did not respond; it ran out of time or crashed")
    try:
        response = json.loads(text.splitlines()[-1])
    except ValueError:
        return Outcome(text, "the response of the function is not JSON")
    return Outcome(response, find_failure(response))


def find_failure(response: Any) -> str | None:
    """Return why the response says that the function did not do its work, None if it did."""
    if not isinstance(response, dict):
        return None
    if "errorMessage" in response:
        return f"the function failed: {response.get('errorType', 'error')}: {response['errorMessage']}"
    if isinstance(response.get("statusCode"), int) and response["statusCode"] >= _SERVER_ERROR:
        return f"the function responded with status {response['statusCode']}"
    if failures := response.get("batchItemFailures"):
        return f"the function failed to handle {len(failures)} of its messages"
    return None


def format_response(response: Any) -> str:
    """Return the response as indented JSON; a body of an HTTP response that is JSON is part of it."""
    if isinstance(response, dict) and isinstance(response.get("body"), str):
        with contextlib.suppress(ValueError):
            response = {**response, "body": json.loads(response["body"])}
    return json.dumps(response, indent=2, ensure_ascii=False)
