"""Object keys that nobody can guess and every repeat finds again. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from replicate_proxy import signing

if TYPE_CHECKING:
    from replicate_proxy.outputs.walk import Path

__all__ = ["Area", "object_key"]

type Area = Literal["outputs", "originals", "thumbs"]
_DIGITS = 40


def object_key(
    secret: bytes, area: Area, *, tenant: str, job_id: str, path: Path, sha256: str, name: str
) -> str:
    """`<area>/<40 hex digits>/<name>`: an HMAC over tenant, job, place in the output and content.

    The content is part of it so that a repeat that came out otherwise can never be taken for what lies there.
    Knowing one file's key tells nothing about another's, not even within the same job.
    """
    place = json.dumps(path, separators=(",", ":"))
    return f"{area}/{signing.sign(secret, area, tenant, job_id, place, sha256)[:_DIGITS]}/{name}"
