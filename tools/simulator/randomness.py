"""Randomness: unpredictable identifiers in Replicate's formats, and reproducible generators.

Identifiers are never seeded, so that two processes do not issue the same ones.
"""

import base64
import secrets
import string
import uuid
from random import Random

_PREDICTION_ALPHABET = string.ascii_lowercase + string.digits
_MESSAGE_ALPHABET = string.ascii_letters + string.digits


def generate_prediction_id() -> str:
    """Return 26 characters of [a-z0-9]."""
    return "".join(secrets.choice(_PREDICTION_ALPHABET) for _ in range(26))


def generate_message_id() -> str:
    """Return the ID of a webhook message: `msg_` and 27 letters or digits."""
    return "msg_" + "".join(secrets.choice(_MESSAGE_ALPHABET) for _ in range(27))


def generate_file_id() -> str:
    """Return the ID of an uploaded file: a UUID in URL-safe base64."""
    return base64.urlsafe_b64encode(str(uuid.uuid4()).encode()).decode().rstrip("=")


def generate_output_folder() -> str:
    """Return an unguessable path segment for the output files of one prediction."""
    return secrets.token_urlsafe(30)


def generate_stream_id() -> str:
    """Return an unguessable path segment for the stream of one prediction."""
    return base64.b32encode(secrets.token_bytes(32)).decode().lower().rstrip("=")


def create_seeded_random(*parts: object) -> Random:
    """Return a generator that produces the same sequence for the same parts."""
    return Random(":".join(str(part) for part in parts))  # noqa: S311 - must be reproducible, guards no secret
