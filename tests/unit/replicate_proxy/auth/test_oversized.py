"""A credential too long to be one is refused before anybody reads it, however good it may be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.auth.errors import UnauthenticatedError
from replicate_proxy.auth.principal import Principal
from replicate_proxy.auth.stale_key_cache import StaleKeyCache
from tests.support.access import DIGEST_KEY, FakeKeyStore
from tests.support.clock import FakeClock


class Gullible:
    """Believes every token."""

    def verify(self, token: str) -> Principal:
        return Principal("acme", f"jwt:{len(token)}", frozenset())


@pytest.mark.parametrize(("length", "taken"), [(8192, True), (8193, False), (1_000_000, False)])
def test_length_decides_before_content(clock: FakeClock, length: int, *, taken: bool) -> None:
    authorizer = Authorizer(
        keys=StaleKeyCache(FakeKeyStore({}), clock=clock, max_stale=timedelta(minutes=5)),
        tokens=Gullible(),
        digest_key=lambda: DIGEST_KEY,
        clock=clock,
    )
    header = "Bearer eyJ" + "A" * (length - 3)
    if taken:
        assert authorizer.authorize(header, "203.0.113.9").principal.key_id == f"jwt:{length}"
    else:
        with pytest.raises(UnauthenticatedError):
            authorizer.authorize(header, "203.0.113.9")
