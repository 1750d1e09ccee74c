"""One message of a queue after another: what a failure means for the message."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError, PermanentError, ProxyError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def log_message_outcome() -> Iterator[None]:
    """Around the handling of one message: says in the log why it goes back to the queue, or why it does not.

    A job that is gone leaves nothing to do, so its message is done. Everything else is raised: SQS hands the
    message out again and, after `maxReceiveCount` tries, moves it to the dead-letter queue.
    """
    try:
        yield
    except NotFoundError as error:
        logger.warning("message dropped", reason=str(error))
    except PermanentError as error:
        logger.error("message cannot be handled", reason=f"{type(error).__name__}: {error}")
        raise
    except ProxyError as error:
        logger.warning("message goes back to the queue", reason=f"{type(error).__name__}: {error}")
        raise
    except Exception:
        logger.exception("message failed unexpectedly")
        raise
