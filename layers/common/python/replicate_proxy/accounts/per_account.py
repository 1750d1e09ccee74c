"""Values that exist once for each account, such as clients, rate limits and circuit breakers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ACCOUNTS = 100
"""How many tenants' accounts an execution environment keeps values for; what they cache is read again."""


class PerAccount[Value]:
    """Builds the value of an account when it is first asked for; safe for threads.

    The value of the shared account is kept, those of tenants' accounts while they are among the last used.
    """

    def __init__(self, build: Callable[[Account], Value]) -> None:
        self._build = build
        self._shared: Value | None = None
        self._values: OrderedDict[Account, Value] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, account: Account) -> Value:
        with self._lock:
            if account.is_shared:
                if self._shared is None:
                    self._shared = self._build(SHARED_ACCOUNT)
                return self._shared
            if account not in self._values:
                self._values[account] = self._build(account)
            self._values.move_to_end(account)
            if len(self._values) > MAX_ACCOUNTS:
                self._values.popitem(last=False)
            return self._values[account]
