"""What a model is, and the script a behaviour writes for one run of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from tools.simulator.ids import version_id

type JsonSchema = dict[str, Any]
type Behaviour = Callable[["Run"], "Script"]


@dataclass(frozen=True, slots=True)
class Run:
    """What a behaviour sees of a prediction: its validated input, and randomness of its own."""

    input: dict[str, Any]
    rng: Random

    def get(self, name: str, default: Any) -> Any:
        """An input value, or the default where it is absent or null."""
        value = self.input.get(name)
        return default if value is None else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happens during a run, `at` a share of its run time between 0 and 1."""

    at: float
    logs: str = ""
    output: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One run; outputs are JSON with OutputFile values. `startup`, `latency` in seconds, None: the usual."""

    output: Any = None
    steps: tuple[Step, ...] = ()
    status: Literal["succeeded", "failed"] = "succeeded"
    error: str | None = None
    startup: float | None = None
    latency: float | None = None
    hold: bool = False
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A hosted model. Official ones run by name and show `hidden` as their version."""

    owner: str
    name: str
    description: str
    behavior: Behaviour
    inputs: dict[str, JsonSchema]
    output: JsonSchema
    required: tuple[str, ...] = ()
    is_official: bool = False
    is_streamable: bool = False
    latency_factor: float = 1.0

    @property
    def full_name(self) -> str:
        """`owner/name`."""
        return f"{self.owner}/{self.name}"

    @property
    def version(self) -> str:
        """The fixed 64-hex id of its only version."""
        return version_id(self.full_name)

    @property
    def reported_version(self) -> str:
        """The `version` of its predictions."""
        return "hidden" if self.is_official else self.version


TEXT: JsonSchema = {"type": "string"}
URI: JsonSchema = {"type": "string", "format": "uri"}
PROMPT: JsonSchema = {"type": "string", "title": "Prompt", "description": "What to make"}


def list_of(items: JsonSchema) -> JsonSchema:
    """The schema of a list."""
    return {"type": "array", "items": items}


def object_of(**properties: JsonSchema) -> JsonSchema:
    """The schema of an object."""
    return {"type": "object", "properties": properties}


def integer(default: int, minimum: int, maximum: int) -> JsonSchema:
    """The schema of a bounded integer input."""
    return {"type": "integer", "default": default, "minimum": minimum, "maximum": maximum}


def choice(*values: str) -> JsonSchema:
    """The schema of an input with fixed values, the first being the default."""
    return {"type": "string", "enum": list(values), "default": values[0]}
