"""What the functions share in the control table."""

from __future__ import annotations

from functools import cache

from replicate_proxy.accounts.directory import AccountDirectory
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.model_entry_store import DynamoModelEntryStore
from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.input_schemas.known_schemas import KnownSchemas
from replicate_proxy.model_entries.directory import ModelEntryDirectory
from replicate_proxy.pauses.pause import PausedActivity, PauseSwitch
from replicate_proxy.replicate_api.known_models import KnownModels
from replicate_proxy.settings import INPUT_VALIDATION


@cache
def build_known_models() -> KnownModels:
    return KnownModels(build_control_table(), clock)


@cache
def build_known_schemas() -> KnownSchemas | None:
    """Return the input schemas of models, None if inputs are not validated."""
    return KnownSchemas(build_control_table(), clock) if env[INPUT_VALIDATION] else None


@cache
def build_model_entries() -> ModelEntryDirectory:
    return ModelEntryDirectory(DynamoModelEntryStore(build_control_table()))


@cache
def build_account_directory() -> AccountDirectory:
    return AccountDirectory(DynamoAccountStore(build_control_table()))


@cache
def build_pause_switch() -> PauseSwitch:
    return PauseSwitch(DynamoPauseStore(build_control_table()))


@cache
def build_delivery_pause_switch() -> PauseSwitch:
    return PauseSwitch(DynamoPauseStore(build_control_table(), PausedActivity.DELIVERIES))
