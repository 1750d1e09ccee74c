"""Random identifiers in the forms Replicate uses; never seeded, so that no two processes share one."""

import base64
import hashlib
import secrets
import string
import uuid

_PREDICTION_ALPHABET = string.ascii_lowercase + string.digits
_MESSAGE_ALPHABET = string.ascii_letters + string.digits


def prediction_id() -> str:
    """26 characters of [a-z0-9]."""
    return "".join(secrets.choice(_PREDICTION_ALPHABET) for _ in range(26))


def message_id() -> str:
    """A webhook message id, `msg_` and 27 letters or digits."""
    return "msg_" + "".join(secrets.choice(_MESSAGE_ALPHABET) for _ in range(27))


def file_id() -> str:
    """An uploaded file's id: base64 of a UUID, URL-safe."""
    return base64.urlsafe_b64encode(str(uuid.uuid4()).encode()).decode().rstrip("=")


def delivery_folder() -> str:
    """The unguessable folder that one prediction's output files are served from."""
    return secrets.token_urlsafe(30)


def version_id(model: str) -> str:
    """The fixed 64-hex version of a model, derived from its `owner/name`."""
    return hashlib.sha256(model.encode()).hexdigest()
