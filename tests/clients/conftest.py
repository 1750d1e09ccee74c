"""The fixtures of the integration tests, for the clients that `make clients` tests."""

from tests.integration.conftest import api, make_api, make_key, stack

__all__ = ["api", "make_api", "make_key", "stack"]
