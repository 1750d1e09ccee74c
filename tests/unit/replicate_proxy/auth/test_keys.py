"""API keys: text, digest, standing, rotation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.auth.keys import (
    MAX_ROTATION_OVERLAP,
    ApiKeySecret,
    KeyStatus,
    UsageLimits,
    rotate_key,
    verify_key,
)
from replicate_proxy.auth.principal import Scope
from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.aws.key_store import key_from_record, record_from_key
from tests.support.access import DIGEST_KEY, make_key
from tests.support.clock import NOW

_HOUR = timedelta(hours=1)


def test_a_fresh_key_reads_back_as_written() -> None:
    text = ApiKeySecret.generate()
    assert ApiKeySecret.parse(str(text)) == text


def test_fresh_keys_differ() -> None:
    assert len({str(ApiKeySecret.generate()) for _ in range(50)}) == 50


def test_the_secret_is_not_in_the_repr() -> None:
    text = ApiKeySecret.generate()
    assert text.secret not in repr(text)
    key, _ = make_key(usage_key="uk-value")
    assert "uk-value" not in repr(key)


@given(st.text(max_size=80))
def test_no_other_text_reads_as_a_key(text: str) -> None:
    read = ApiKeySecret.parse(text)
    assert read is None or str(read) == text


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text + "\n",
        lambda text: text.replace("rp_", "RP_"),
        lambda text: text[:-1] + "_",
        lambda text: text[:-1] + "\N{FULLWIDTH DIGIT ONE}",
        lambda text: " " + text,
    ],
)
def test_a_misshapen_key_is_none(change) -> None:  # type: ignore[no-untyped-def] # any text to text
    assert ApiKeySecret.parse(change(str(ApiKeySecret.generate()))) is None


def test_a_digest_is_bound_to_the_id_and_the_digest_key() -> None:
    text = ApiKeySecret.generate()
    moved = replace(text, key_id=ApiKeySecret.generate().key_id)
    assert len({text.digest(DIGEST_KEY), moved.digest(DIGEST_KEY), text.digest(b"other" * 8)}) == 3
    assert text.secret not in text.digest(DIGEST_KEY)


def test_the_right_secret_is_good_and_another_is_wrong() -> None:
    key, text = make_key()
    assert verify_key(key, text, DIGEST_KEY, NOW) is KeyStatus.VALID
    assert verify_key(key, ApiKeySecret.generate(key.id), DIGEST_KEY, NOW) is KeyStatus.INVALID


def test_an_unknown_id_is_wrong() -> None:
    assert verify_key(None, ApiKeySecret.generate(), DIGEST_KEY, NOW) is KeyStatus.INVALID


def test_expiry_is_the_first_moment_at_which_the_key_is_no_longer_good() -> None:
    key, text = make_key(expires_at=NOW + _HOUR)
    assert verify_key(key, text, DIGEST_KEY, NOW + _HOUR - timedelta(microseconds=1)) is KeyStatus.VALID
    assert verify_key(key, text, DIGEST_KEY, NOW + _HOUR) is KeyStatus.EXPIRED


def test_revoked_counts_before_expired_and_wrong_before_both() -> None:
    key, text = make_key(expires_at=NOW, revoked_at=NOW)
    assert verify_key(key, text, DIGEST_KEY, NOW) is KeyStatus.REVOKED
    assert verify_key(key, ApiKeySecret.generate(key.id), DIGEST_KEY, NOW) is KeyStatus.INVALID


def test_after_a_rotation_both_secrets_are_good_until_the_grace_ends() -> None:
    key, old = make_key()
    key, new = rotate_key(key, DIGEST_KEY, now=NOW, overlap=_HOUR)
    assert new.key_id == old.key_id
    just_before = NOW + _HOUR - timedelta(microseconds=1)
    assert [verify_key(key, text, DIGEST_KEY, just_before) for text in (old, new)] == [KeyStatus.VALID] * 2
    assert verify_key(key, old, DIGEST_KEY, NOW + _HOUR) is KeyStatus.INVALID
    assert verify_key(key, new, DIGEST_KEY, NOW + _HOUR) is KeyStatus.VALID


def test_a_rotation_without_grace_ends_the_old_secret_at_once() -> None:
    key, old = make_key()
    key, new = rotate_key(key, DIGEST_KEY, now=NOW, overlap=timedelta())
    assert verify_key(key, old, DIGEST_KEY, NOW) is KeyStatus.INVALID
    assert verify_key(key, new, DIGEST_KEY, NOW) is KeyStatus.VALID


def test_a_second_rotation_ends_the_first_secret() -> None:
    key, first = make_key()
    key, second = rotate_key(key, DIGEST_KEY, now=NOW, overlap=_HOUR)
    key, third = rotate_key(key, DIGEST_KEY, now=NOW, overlap=_HOUR)
    found = [verify_key(key, text, DIGEST_KEY, NOW) for text in (first, second, third)]
    assert found == [KeyStatus.INVALID, KeyStatus.VALID, KeyStatus.VALID]


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), MAX_ROTATION_OVERLAP + timedelta(seconds=1)])
def test_a_grace_out_of_bounds_is_refused(grace: timedelta) -> None:
    key, _ = make_key()
    with pytest.raises(ValueError, match="0 to 7 days"):
        rotate_key(key, DIGEST_KEY, now=NOW, overlap=grace)


def test_a_stored_key_comes_back_whole() -> None:
    key, _ = make_key(
        name="Bücher & Co",
        scopes=frozenset({Scope.ADMIN, Scope.PREDICTIONS_READ}),
        allowed_ips=("10.0.0.0/8", "2001:db8::/32"),
        allowed_models=("acme/*",),
        expires_at=NOW + _HOUR,
        previous_digest="0" * 64,
        previous_digest_expires_at=NOW + _HOUR,
        last_used_at=NOW,
        revoked_at=NOW,
        limits=UsageLimits(0.5, 3, 1000),
        usage_key_id="uk1",
        usage_key="value",
    )
    assert key_from_record(from_item(to_item(record_from_key(key)))) == key
    bare, _ = make_key(scopes=frozenset())
    assert key_from_record(from_item(to_item(record_from_key(bare)))) == bare


def test_only_a_revoked_key_is_ever_deleted_by_the_table() -> None:
    live, _ = make_key(expires_at=NOW + _HOUR)
    revoked, _ = make_key(revoked_at=NOW)
    assert record_from_key(live)["expires_at"] is None
    assert record_from_key(revoked)["expires_at"] > NOW.timestamp()
