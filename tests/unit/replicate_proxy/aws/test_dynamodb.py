"""Records as DynamoDB items: the same form as boto3's own conversion."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal, Inexact
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.aws.dynamodb import from_item, to_item, to_value

_WHOLE = st.integers(-(10**38) + 1, 10**38 - 1)
_PLAIN = st.recursive(
    st.none() | st.booleans() | _WHOLE | st.text(),
    lambda entries: st.lists(entries) | st.dictionaries(st.text(), entries),
    max_leaves=20,
)
_RECORDS = st.dictionaries(st.text(), _PLAIN)


@given(_PLAIN)
def test_value_is_written_as_by_boto3(value: Any) -> None:
    assert to_value(value) == TypeSerializer().serialize(value)


@given(_RECORDS)
def test_record_is_read_as_it_was_written(record: dict[str, Any]) -> None:
    expected = {name: value for name, value in record.items() if value is not None}

    assert from_item(to_item(record)) == expected
    assert {
        name: TypeDeserializer().deserialize(value) for name, value in to_item(record).items()
    } == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("7", 7),
        ("-7", -7),
        ("1.5", 1.5),
        ("-0.25", -0.25),
        ("1E+3", 1000),
        ("2.0", 2),
        ("9" * 38, 10**38 - 1),
    ],
)
def test_number_is_read_as_int_if_whole_else_as_float(text: str, number: float) -> None:
    read = from_item({"number": {"N": text}})["number"]

    assert read == number
    assert type(read) is type(number)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Decimal("1.5"), {"N": "1.5"}),
        (b"bytes", {"B": b"bytes"}),
    ],
)
def test_other_type_is_written_by_boto3(value: Any, written: Any) -> None:
    assert to_value(value) == written


@given(st.sets(st.text(), min_size=1))
def test_set_of_text_is_written_and_read_as_by_boto3(names: set[str]) -> None:
    item = to_item({"names": names})

    assert sorted(item["names"]["SS"]) == sorted(TypeSerializer().serialize(names)["SS"])
    assert from_item(item) == {"names": TypeDeserializer().deserialize(item["names"])}


def test_types_of_records_do_not_load_boto3() -> None:
    script = (
        "import sys\n"
        "from replicate_proxy.aws.dynamodb import from_item, to_item\n"
        "from replicate_proxy.jobs.model import JobStatus\n"
        "record = {'a': JobStatus.QUEUED, 'b': -1, 'c': [True, None, 'x'], 'd': {'e': {'f'}}}\n"
        "assert from_item(to_item(record)) == record\n"
        "print('boto3' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)

    assert finished.stdout == "False\n"


@pytest.mark.parametrize("number", [10**38 + 1, -(10**38) - 1])
def test_number_of_more_than_38_digits_is_rejected(number: int) -> None:
    with pytest.raises(Inexact):
        to_value(number)


def test_float_is_rejected() -> None:
    with pytest.raises(TypeError, match="Float"):
        to_value({"nested": [1.5]})
