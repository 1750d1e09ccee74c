"""Who makes the changes of the present request.

Set once where a request arrives, like the keys of its log lines, so that no service between there and the
audit trail has to pass it on.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.audit.model import Actor

_actor: ContextVar[Actor] = ContextVar("actor")


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Record the changes of the block as made by the actor."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def get_actor() -> Actor:
    """Return the actor. Raises RuntimeError without one: each change names who makes it."""
    try:
        return _actor.get()
    except LookupError:
        raise RuntimeError("a change must be made within acting_as()") from None
