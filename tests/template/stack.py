"""template.yaml as CloudFormation would see it: transformed by SAM, conditions decided, branches taken."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfn_flip import load_yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


TEMPLATE = Path(__file__).parents[2] / "template.yaml"
ACCOUNT = "111122223333"
REGION = "us-east-1"
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::StackName": "replicate-proxy",
}
_NO_VALUE = {"Ref": "AWS::NoValue"}


@dataclass(frozen=True)
class Resource:
    """One resource as declared; `properties` has no Fn::If left, and values in place of parameters."""

    id: str
    declared: Mapping[str, Any]
    resolve: Callable[[Any], Any]

    @property
    def type(self) -> str:
        return str(self.declared["Type"])

    @cached_property
    def properties(self) -> dict[str, Any]:
        resolved: dict[str, Any] = self.resolve(self.declared.get("Properties", {}))
        return resolved


class Stack:
    """The resources that exist with these parameters."""

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self.template = template
        self.parameters = {
            name: str(parameters.get(name, declared.get("Default", "")))
            for name, declared in template["Parameters"].items()
        }
        self.resources = {
            name: Resource(name, declared, self._resolve)
            for name, declared in template["Resources"].items()
            if "Condition" not in declared or self.holds(declared["Condition"])
        }

    def of(self, kind: str) -> list[Resource]:
        """Resources of a type, without the leading `AWS::`."""
        return [resource for resource in self.resources.values() if resource.type == f"AWS::{kind}"]

    def holds(self, condition: str) -> bool:
        return self._truth(self.template["Conditions"][condition])

    def _truth(self, expression: Any) -> bool:
        match expression:
            case {"Fn::Equals": [left, right]}:
                return bool(self._resolve(left) == str(self._resolve(right)))
            case {"Fn::And": parts}:
                return all(self._truth(part) for part in parts)
            case {"Fn::Or": parts}:
                return any(self._truth(part) for part in parts)
            case {"Fn::Not": [part]}:
                return not self._truth(part)
            case {"Condition": name}:
                return self.holds(name)
        raise AssertionError(f"not a condition: {expression}")

    def _resolve(self, value: Any) -> Any:
        match value:
            case {"Fn::If": [condition, then, otherwise]}:
                resolved = self._resolve(then if self.holds(condition) else otherwise)
            case {"Ref": name}:
                resolved = self._reference(name)
            case {"Fn::Select": [index, {"Ref": name}]} if name in self.parameters:
                resolved = self.parameters[name].split(",")[int(index)]
            case {"Fn::Join": [separator, {"Ref": name}]} if name in self.parameters:
                resolved = separator.join(self.parameters[name].split(","))
            case {"Fn::Sub": [str(text), dict(names)]} if len(names) == 1:
                resolved = self._filled(text, names)
            case dict():
                parts = {key: self._resolve(part) for key, part in value.items()}
                resolved = {key: part for key, part in parts.items() if part != _NO_VALUE}
            case list():
                resolved = [part for part in map(self._resolve, value) if part != _NO_VALUE]
            case _:
                resolved = value
        return resolved

    def _filled(self, text: str, names: dict[str, Any]) -> Any:
        """A Sub with one name of its own, where that is all that it names and its value is known."""
        ((name, value),) = ((name, self._resolve(value)) for name, value in names.items())
        known = isinstance(value, str) and text.count("${") == 1
        return text.replace(f"${{{name}}}", value) if known else {"Fn::Sub": [text, {name: value}]}

    def _reference(self, name: str) -> Any:
        if name not in self.parameters:
            return _PSEUDO.get(name, {"Ref": name})
        text = self.parameters[name]
        return text.split(",") if self.template["Parameters"][name]["Type"] == "CommaDelimitedList" else text


def target(value: Any) -> str:
    """Logical id that a Ref, GetAtt or Sub of a single resource points at; empty for anything else."""
    match value:
        case {"Ref": str(name)}:
            return name
        case {"Fn::GetAtt": [str(name), *_]}:
            return name
        case {"Fn::GetAtt": str(path)}:
            return path.split(".")[0]
        case {"Fn::Sub": str(text)} if text.count("${") == 1:
            return text.split("${")[1].split("}")[0].split(".")[0]
    return ""


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every part of a value with its path, itself first."""
    yield path, value
    children: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        children = iter(value.items())
    elif isinstance(value, list):
        children = iter(enumerate(value))
    for key, part in children:
        yield from walk(part, f"{path}/{key}")


@cache
def _source() -> dict[str, Any]:
    loaded: dict[str, Any] = load_yaml(TEMPLATE.read_text(encoding="utf-8"))
    return loaded


def source() -> dict[str, Any]:
    """template.yaml as written, short forms of functions written out; a copy that the caller may change."""
    return copy.deepcopy(_source())


def transform(template: dict[str, Any]) -> dict[str, Any]:
    """What SAM makes of a template; the argument is used up."""
    os.environ.setdefault(
        "AWS_DEFAULT_REGION", REGION
    )  # the translator asks boto3 for the region's partition
    for resource in template["Resources"].values():
        for where in ("CodeUri", "ContentUri"):
            if where in resource.get("Properties", {}):
                resource["Properties"][where] = "s3://artifacts/code.zip"  # as `sam package` leaves it
    translated: dict[str, Any] = Translator({}, Parser()).translate(template, {})
    return translated


@cache
def _template() -> dict[str, Any]:
    return transform(source())  # parameters stay references in all that SAM makes of this template


@cache
def _load(parameters: frozenset[tuple[str, str]]) -> Stack:
    return Stack(_template(), dict(parameters))


def load(**parameters: str) -> Stack:
    """The stack with these parameters, the others at their defaults; shared, so not to be changed."""
    return _load(frozenset(parameters.items()))
