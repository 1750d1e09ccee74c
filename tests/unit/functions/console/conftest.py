"""Signed-in browsers for the tests of the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.auth.principal import Scope
from tests.support.console import Browser, console_account, store_key

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with console_account(monkeypatch):
        yield


@pytest.fixture
def operator() -> Browser:
    browser = Browser()
    assert browser.sign_in(store_key(Scope.ADMIN, tenant="operator", name="op")).status == 303
    return browser


@pytest.fixture
def tenant() -> Browser:
    browser = Browser()
    assert browser.sign_in(store_key()).status == 303
    return browser


@pytest.fixture
def reader() -> Browser:
    browser = Browser()
    assert browser.sign_in(store_key(Scope.PREDICTIONS_READ)).status == 303
    return browser
