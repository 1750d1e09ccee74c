"""The list of tenants."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.console.pages.tenants import build_tenant_rows
from replicate_proxy.pauses.pause import Pause, PauseMode
from tests.support.access import make_key
from tests.support.clock import NOW

if TYPE_CHECKING:
    from replicate_proxy.pauses.pause import Pauses


def test_rows_have_all_tenants_by_name_with_their_valid_keys_and_last_use() -> None:
    earlier = NOW - timedelta(hours=1)
    keys = [
        make_key(tenant="globex", last_used_at=earlier)[0],
        make_key(tenant="globex", last_used_at=NOW)[0],
        make_key(tenant="globex", revoked_at=NOW)[0],
    ]
    pauses: dict[str, Pauses] = {"predictions": {"globex": Pause(PauseMode.HOLD, "")}, "deliveries": {}}
    rows = build_tenant_rows([Tenant("initech", display_name="Initech")], keys, pauses, NOW)
    assert rows == [
        {"name": "globex", "display_name": "", "keys": 2, "last_used_at": NOW, "paused": ["predictions"]},
        {"name": "initech", "display_name": "Initech", "keys": 0, "last_used_at": None, "paused": []},
    ]


def test_thousands_of_tenants_and_keys_take_no_seconds() -> None:
    key, _ = make_key()
    keys = [replace(key, tenant=f"t{number}") for number in range(20_000)]
    started_at = time.process_time()
    rows = build_tenant_rows([], keys, {"predictions": {}, "deliveries": {}}, NOW)
    assert len(rows) == len(keys)
    assert time.process_time() - started_at < 2
