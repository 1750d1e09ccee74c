"""Validate the input of a create request against the schema of its model, before anything is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import ApiError, field_errors
from replicate_proxy.jobs.model import SHARED_ACCOUNT
from replicate_proxy.model_entries.entry import parse_target
from replicate_proxy.replicate_api.known_models import name_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.errors import InvalidField
    from replicate_proxy.input_schemas.schema import InputSchema
    from replicate_proxy.jobs.model import Account, Submission
    from replicate_proxy.model_entries.entry import ModelEntry
    from replicate_proxy.services.ingest import JobRequest

_MAX_WARNINGS = 20
_MAX_NAME_CHARACTERS = 100
# Comparing names takes time.
_MAX_COMPARED_NAMES = 200

type CheckInput = Callable[["JobRequest"], tuple[str, ...]]
"""Returns warnings about an input. Raises a 422 ApiError if Replicate would refuse it."""


class SchemaFinder(Protocol):
    """Finds schemas: `input_schemas.known_schemas.KnownSchemas`. Does not raise."""

    def find(self, target: str) -> InputSchema | None: ...


def accept_all(_request: JobRequest) -> tuple[str, ...]:
    """Accept every input, where validation is switched off."""
    return ()


class InputChecker:
    """Validates what is sent to Replicate: the input with the fields of the model's entry.

    Fallbacks are not considered. What is not known passes.
    """

    def __init__(self, schemas: SchemaFinder) -> None:
        self._schemas = schemas

    def check(self, request: JobRequest) -> tuple[str, ...]:
        """Return warnings about fields that the model does not know.

        Raises a 422 ApiError that names every invalid field, as Replicate does.
        """
        entry = request.applied_entry
        schema = self._find(entry, request.submission, request.account)
        if schema is None:
            return ()
        sent = entry.build_input(request.input)
        set_by_entry = {*entry.forced, *(name for name in entry.defaults if name not in request.input)}
        note = f" (set by the entry of the model {entry.name})"
        if errors := schema.find_errors(sent):
            raise field_errors([_add_origin(error, set_by_entry, note) for error in errors])
        return tuple(
            _describe_unknown(name, schema.names) + (note if name in set_by_entry else "")
            for name in schema.find_unknown_names(sent)[:_MAX_WARNINGS]
        )

    def find_entry_errors(self, entry: ModelEntry) -> list[InvalidField]:
        """Return the errors in `defaults` and `forced` of an entry whose model's schema is known."""
        schema = self._find(entry, parse_target(entry.name), SHARED_ACCOUNT)
        if schema is None:
            return []
        parts: Mapping[str, Mapping[str, object]] = {"defaults": entry.defaults, "forced": entry.forced}
        return [
            error
            for path, fields in parts.items()
            for error in schema.find_errors(fields, path=path, is_complete=False)
        ]

    def _find(self, entry: ModelEntry, submission: Submission, account: Account) -> InputSchema | None:
        if not entry.validate_input:
            return None
        return self._schemas.find(account.qualify(name_target(entry.build_submission(submission))))


def check_batch(check_input: CheckInput, requests: Sequence[JobRequest]) -> list[JobRequest]:
    """Return the requests with their warnings. Raises a 422 ApiError that names the fields of all of them."""
    checked: list[JobRequest] = []
    invalid_fields: list[InvalidField] = []
    invalid_field_count = 0
    for index, request in enumerate(requests):
        try:
            checked.append(replace(request, warnings=check_input(request)))
        except ApiError as error:
            invalid_fields += [
                replace(field, field=f"predictions.{index}.{field.field}") for field in error.invalid_fields
            ]
            invalid_field_count += error.invalid_field_count
    if invalid_fields:
        raise field_errors(invalid_fields, total=invalid_field_count)
    return checked


def _add_origin(error: InvalidField, set_by_entry: set[str], note: str) -> InvalidField:
    """Return the error, with a note if the caller did not send the field."""
    name = error.field.split(".")[1] if "." in error.field else ""
    return replace(error, description=error.description + note) if name in set_by_entry else error


def _describe_unknown(name: str, known: Sequence[str]) -> str:
    """Return the warning. Replicate and Cog ignore such fields, some versions of Cog refuse them."""
    from difflib import get_close_matches  # noqa: PLC0415 - loaded only where there is something to say

    shown = name[:_MAX_NAME_CHARACTERS]
    nearest = get_close_matches(shown, known[:_MAX_COMPARED_NAMES], n=1)
    advice = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"input.{shown} is not a field of this model, which ignores or refuses it{advice}"
