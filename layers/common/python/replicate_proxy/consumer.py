"""What an error means for the queue message whose handling raised it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError, PermanentError, ProxyError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def log_message_outcome() -> Iterator[None]:
    """Log why a message is retried or dropped.

    A message whose job does not exist is dropped. Every other error is raised: SQS delivers the message again
    and, after `maxReceiveCount` receives, moves it to the dead-letter queue.
    """
    try:
        yield
    except NotFoundError as error:
        logger.warning("message dropped", reason=str(error))
    except PermanentError as error:
        logger.error("message cannot be handled", reason=f"{type(error).__name__}: {error}")
        raise
    except ProxyError as error:
        logger.warning("message will be retried", reason=f"{type(error).__name__}: {error}")
        raise
    except Exception:
        logger.exception("message failed unexpectedly")
        raise
