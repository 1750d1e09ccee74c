"""What the application asks for in a chaos run."""

from collections import Counter

import pytest

from tools.chaos.mix import REFUSED
from tools.chaos.orders import ENDINGS, Kind, orders, parcels


def test_a_seed_gives_the_same_orders_and_another_seed_others() -> None:
    assert orders(200, 1) == orders(200, 1)
    assert [order.kind for order in orders(200, 1)] != [order.kind for order in orders(200, 2)]


def test_there_are_some_of_every_kind_and_each_may_end_in_one_way() -> None:
    counted = Counter(order.kind for order in orders(1000, 3))

    assert set(counted) == set(Kind) == set(ENDINGS)
    assert min(counted.values()) > 30
    assert all(len(endings) == 1 for endings in ENDINGS.values())


def test_every_order_has_an_idempotency_key_of_its_own() -> None:
    assert len({order.key for order in orders(1000, 1)}) == 1000


def test_only_what_is_to_be_refused_carries_the_word_that_is_refused() -> None:
    for order in orders(200, 1):
        assert (REFUSED in str(order.body("http://127.0.0.1/hook"))) == (order.kind is Kind.REFUSED)


def test_the_webhook_is_asked_for_where_it_is_wanted() -> None:
    for order in orders(50, 1):
        assert ("webhook" in order.body("http://127.0.0.1/hook")) == order.wants_webhook


@pytest.mark.parametrize("number", [1, 4, 20, 23, 100])
def test_every_order_is_in_one_parcel_and_a_quarter_in_batches(number: int) -> None:
    placed = orders(number, 1)
    sent = parcels(placed)
    assert [order for parcel in sent for order in parcel] == list(placed)
    assert number < 20 or sum(len(parcel) for parcel in sent if len(parcel) > 1) >= number // 4
