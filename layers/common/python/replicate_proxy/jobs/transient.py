"""Which failures of a prediction are Replicate's own passing trouble, so that one fresh attempt is worth it.
Pure.
"""

from __future__ import annotations

import re

__all__ = ["is_transient"]

# Director errors and interruptions that users' projects retry by hand, as against E1001 (out of memory),
# which comes again with the same input (Replicate docs, error codes; the codes as seen in public projects).
_TRANSIENT = re.compile(r"\((?:code: PA|E9828|E8765|E6716|E9243)\)|\bcode: PA\b|\bE(?:9828|8765|6716|9243)\b")


def is_transient(error: str) -> bool:
    """Whether the error text carries a code of passing infrastructure trouble."""
    return _TRANSIENT.search(error) is not None
