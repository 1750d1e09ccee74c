"""Nobody else's file can be named as an input. Pure.

An address is looked at where it points at our own origin or carries a signature of ours: on another host
name of the same API the signature still tells. Other addresses are Replicate's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from replicate_proxy.files.addresses import ticket_in
from replicate_proxy.validation import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from replicate_proxy.auth.principal import Principal

__all__ = ["check_input"]


def check_input(
    value: Any, principal: Principal, *, key: Callable[[], bytes], base_url: str, now: datetime
) -> None:
    """Raises a 422 ApiError for a file that is not the caller's own, or past its time; it says which field.

    `value` is a prediction's input; `key` (of the signatures) is asked only where an address looks like ours.
    """
    origin = urlsplit(base_url).netloc.lower()
    for path, text in _addresses(value):
        ours = urlsplit(text).netloc.lower() == origin
        if (ours and "/v1/files/" in text) or ticket_in(text):
            problem = _problem(text, principal.tenant, key(), now, ours=ours)
            if problem:
                raise invalid(path, problem, kind="file_not_usable")


def _problem(url: str, tenant: str, key: bytes, now: datetime, *, ours: bool) -> str | None:
    ticket = ticket_in(url)
    if ticket is None or not ticket.is_ours(key):
        return "is not a download address of a file; use urls.get of the file" if ours else None
    if ticket.owner != tenant:
        return "names no file of yours"
    return "names a file that has expired; upload it again" if ticket.is_over(now) else None


def _addresses(value: Any) -> Iterator[tuple[str, str]]:
    """Every text in the value that can be an address, with its dotted path; without recursion."""
    open_ = [("input", value)]
    while open_:
        path, current = open_.pop()
        match current:
            case dict():
                open_ += [(f"{path}.{name}", entry) for name, entry in current.items()]
            case list():
                open_ += [(f"{path}.{index}", entry) for index, entry in enumerate(current)]
            case str() if _is_address(current):
                yield path, current.strip()


def _is_address(text: str) -> bool:
    if not text.lstrip()[:8].lower().startswith(("http://", "https://")):
        return False
    try:
        urlsplit(text.strip())
    except ValueError:
        return False
    return True
