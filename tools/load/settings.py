"""What the load test hands to locust, as JSON in an environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

VARIABLE = "LOAD_SETTINGS"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """`accepted_file` gets a line for each accepted prediction: the key's number, and the ID."""

    scenario: str
    seconds: float
    rate: float
    url: str
    keys: list[str]
    model: str
    input: dict[str, Any]
    accepted_file: str

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_env(cls) -> LoadSettings:
        return cls(**json.loads(os.environ[VARIABLE]))
