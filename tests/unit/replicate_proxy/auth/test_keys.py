"""API keys: secrets, digests, verification, rotation, and their stored form."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.auth.keys import (
    MAX_PREVIOUS_DIGESTS,
    MAX_ROTATION_OVERLAP,
    ApiKeySecret,
    KeyStatus,
    PreviousDigest,
    UsageLimits,
    rotate_key,
    verify_key,
)
from replicate_proxy.auth.principal import Scope
from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.aws.key_store import key_from_record, record_from_key
from replicate_proxy.errors import ApiError
from tests.support.access import DIGEST_KEY, make_key
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


def test_generated_secret_parses_back() -> None:
    secret = ApiKeySecret.generate()
    assert ApiKeySecret.parse(str(secret)) == secret


def test_generated_secrets_differ() -> None:
    assert len({str(ApiKeySecret.generate()) for _ in range(50)}) == 50


def test_repr_hides_secret_and_usage_key() -> None:
    secret = ApiKeySecret.generate()
    assert secret.secret not in repr(secret)
    key, _ = make_key(usage_key="uk-value")
    assert "uk-value" not in repr(key)


@given(st.text(max_size=80))
def test_parse_returns_none_for_other_text(text: str) -> None:
    secret = ApiKeySecret.parse(text)
    assert secret is None or str(secret) == text


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
def test_parse_returns_none_for_malformed_key(change: Callable[[str], str]) -> None:
    assert ApiKeySecret.parse(change(str(ApiKeySecret.generate()))) is None


def test_digest_depends_on_key_id_and_digest_key() -> None:
    secret = ApiKeySecret.generate()
    moved = replace(secret, key_id=ApiKeySecret.generate().key_id)
    digests = {
        secret.compute_digest(DIGEST_KEY),
        moved.compute_digest(DIGEST_KEY),
        secret.compute_digest(b"other" * 8),
    }
    assert len(digests) == 3
    assert secret.secret not in secret.compute_digest(DIGEST_KEY)


def test_verify_accepts_right_secret_and_rejects_wrong_one() -> None:
    key, secret = make_key()
    assert verify_key(key, secret, DIGEST_KEY, NOW) is KeyStatus.VALID
    assert verify_key(key, ApiKeySecret.generate(key.id), DIGEST_KEY, NOW) is KeyStatus.INVALID


def test_verify_rejects_unknown_id() -> None:
    assert verify_key(None, ApiKeySecret.generate(), DIGEST_KEY, NOW) is KeyStatus.INVALID


def test_key_is_expired_from_its_expiry_on() -> None:
    key, secret = make_key(expires_at=NOW + HOUR)
    assert verify_key(key, secret, DIGEST_KEY, NOW + HOUR - MICROSECOND) is KeyStatus.VALID
    assert verify_key(key, secret, DIGEST_KEY, NOW + HOUR) is KeyStatus.EXPIRED


def test_invalid_takes_precedence_over_revoked_over_expired() -> None:
    key, secret = make_key(expires_at=NOW, revoked_at=NOW)
    assert verify_key(key, secret, DIGEST_KEY, NOW) is KeyStatus.REVOKED
    assert verify_key(key, ApiKeySecret.generate(key.id), DIGEST_KEY, NOW) is KeyStatus.INVALID


def test_rotation_keeps_old_secret_valid_until_overlap_ends() -> None:
    key, old_secret = make_key()
    key, new_secret = rotate_key(key, DIGEST_KEY, now=NOW, overlap=HOUR)
    assert new_secret.key_id == old_secret.key_id
    just_before = NOW + HOUR - MICROSECOND
    assert verify_key(key, old_secret, DIGEST_KEY, just_before) is KeyStatus.VALID
    assert verify_key(key, new_secret, DIGEST_KEY, just_before) is KeyStatus.VALID
    assert verify_key(key, old_secret, DIGEST_KEY, NOW + HOUR) is KeyStatus.INVALID
    assert verify_key(key, new_secret, DIGEST_KEY, NOW + HOUR) is KeyStatus.VALID


def test_rotation_without_overlap_invalidates_old_secret_at_once() -> None:
    key, old_secret = make_key()
    key, new_secret = rotate_key(key, DIGEST_KEY, now=NOW, overlap=timedelta())
    assert verify_key(key, old_secret, DIGEST_KEY, NOW) is KeyStatus.INVALID
    assert verify_key(key, new_secret, DIGEST_KEY, NOW) is KeyStatus.VALID


def test_later_rotation_shortens_but_never_extends_overlap() -> None:
    key, first = make_key()
    key, second = rotate_key(key, DIGEST_KEY, now=NOW, overlap=HOUR)
    key, third = rotate_key(key, DIGEST_KEY, now=NOW + HOUR / 2, overlap=HOUR)
    secrets = (first, second, third)

    def get_statuses(now: datetime) -> list[KeyStatus]:
        return [verify_key(key, secret, DIGEST_KEY, now) for secret in secrets]

    assert get_statuses(NOW + HOUR / 2) == [KeyStatus.VALID] * 3
    assert get_statuses(NOW + HOUR) == [KeyStatus.INVALID, KeyStatus.VALID, KeyStatus.VALID]
    key, _ = rotate_key(key, DIGEST_KEY, now=NOW + HOUR, overlap=HOUR / 4)
    assert get_statuses(NOW + HOUR * 1.25) == [KeyStatus.INVALID] * 3


def test_every_secret_keeps_its_overlap_however_often_the_key_is_rotated() -> None:
    key, secret = make_key()
    issued = [secret]
    for _ in range(MAX_PREVIOUS_DIGESTS):
        key, secret = rotate_key(key, DIGEST_KEY, now=NOW, overlap=HOUR)
        issued.append(secret)

    with pytest.raises(ApiError, match="earlier secrets are valid"):
        rotate_key(key, DIGEST_KEY, now=NOW, overlap=HOUR)

    assert {verify_key(key, each, DIGEST_KEY, NOW) for each in issued} == {KeyStatus.VALID}
    # Once they have expired, or if they are to become invalid, the key is rotated again.
    rotate_key(key, DIGEST_KEY, now=NOW + HOUR, overlap=HOUR)
    key, newest = rotate_key(key, DIGEST_KEY, now=NOW, overlap=timedelta())
    assert {verify_key(key, each, DIGEST_KEY, NOW) for each in issued} == {KeyStatus.INVALID}
    assert verify_key(key, newest, DIGEST_KEY, NOW) is KeyStatus.VALID


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), MAX_ROTATION_OVERLAP + timedelta(seconds=1)])
def test_rotation_rejects_overlap_out_of_bounds(overlap: timedelta) -> None:
    key, _ = make_key()
    with pytest.raises(ValueError, match="0 to 7 days"):
        rotate_key(key, DIGEST_KEY, now=NOW, overlap=overlap)


def test_stored_key_round_trips() -> None:
    key, _ = make_key(
        name="Bücher & Co",
        scopes=frozenset({Scope.ADMIN, Scope.PREDICTIONS_READ}),
        allowed_ips=("10.0.0.0/8", "2001:db8::/32"),
        allowed_models=("acme/*",),
        expires_at=NOW + HOUR,
        previous_digests=(PreviousDigest("0" * 64, NOW + HOUR), PreviousDigest("1" * 64, NOW)),
        last_used_at=NOW,
        revoked_at=NOW,
        limits=UsageLimits(0.5, 3, 1000),
        usage_key_id="uk1",
        usage_key="value",
    )
    assert key_from_record(from_item(to_item(record_from_key(key)))) == key
    minimal_key, _ = make_key(scopes=frozenset())
    assert key_from_record(from_item(to_item(record_from_key(minimal_key)))) == minimal_key


def test_only_revoked_key_has_ttl() -> None:
    expiring_key, _ = make_key(expires_at=NOW + HOUR)
    revoked_key, _ = make_key(revoked_at=NOW)
    assert record_from_key(expiring_key)["expires_at"] is None
    assert record_from_key(revoked_key)["expires_at"] > NOW.timestamp()
