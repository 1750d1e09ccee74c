"""Harvest settings from the environment."""

from __future__ import annotations

from replicate_proxy.config import Environment
from replicate_proxy.outputs.settings import HarvestSettings


def test_settings_are_read_from_environment() -> None:
    settings = HarvestSettings.from_env(Environment({"HARVEST_MAX_FILE_MB": "5", "KEEP_ORIGINALS": "false"}))

    assert settings.max_file_bytes == 5 * 1024 * 1024
    assert not settings.keep_originals
    assert HarvestSettings.from_env(Environment({})) == HarvestSettings()
