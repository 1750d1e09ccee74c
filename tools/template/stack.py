"""The templates as CloudFormation sees them: transformed, evaluated, and with their nested stacks."""

from __future__ import annotations

import copy
import os
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfn_flip import load_yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


ROOT = Path(__file__).parents[2]
MAIN = "template.yaml"
ACCOUNT_ID = "111122223333"
REGION = "us-east-1"
PARTITION = "aws"
STACK_NAME = "replicate-proxy"

type Template = dict[str, Any]
type Templates = dict[str, Template]
"""Templates by path in the repository; `MAIN` includes the others as nested stacks."""

_NESTED_STACK = "AWS::CloudFormation::Stack"
_NO_VALUE = {"Ref": "AWS::NoValue"}
_NAME_PROPERTIES = {"FunctionName": "Lambda::Function", "QueueName": "SQS::Queue"}
_PLACEHOLDER = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True)
class Resource:
    """One resource as declared; `properties` has branches taken and parameters replaced by their values."""

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


class _Scope:
    """One template with the values of its parameters: the main stack, or a stack nested in it."""

    def __init__(
        self, templates: Mapping[str, Template], path: str, stack_name: str, parameters: Mapping[str, Any]
    ) -> None:
        self._templates = templates
        self._stack_name = stack_name
        self._nested: dict[str, _Scope] = {}
        self.template = templates[path]
        declared = self.template["Parameters"]
        unknown = parameters.keys() - declared.keys()
        if unknown:
            raise AssertionError(f"{path} has no parameters {sorted(unknown)}")
        self.parameters = {
            name: parameters.get(name, str(parameter.get("Default", "")))
            for name, parameter in declared.items()
        }

    @cached_property
    def resources(self) -> dict[str, Resource]:
        """Resources whose condition holds."""
        return {
            name: Resource(name, declared, self.resolve)
            for name, declared in self.template["Resources"].items()
            if "Condition" not in declared or self.condition_holds(declared["Condition"])
        }

    @property
    def nested(self) -> dict[str, _Scope]:
        """Nested stacks by logical ID."""
        return {name: self._nest(name) for name in self.resources if self._is_nested(name)}

    def _is_nested(self, name: str) -> bool:
        declared = self.template["Resources"].get(name, {})
        return declared.get("Type") == _NESTED_STACK and name in self.resources

    def _nest(self, name: str) -> _Scope:
        if name not in self._nested:
            resource = self.resources[name]
            self._nested[name] = _Scope(
                self._templates,
                resource.declared["Properties"]["TemplateURL"],
                f"{self._stack_name}-{name}",
                resource.properties.get("Parameters", {}),
            )
        return self._nested[name]

    def condition_holds(self, name: str) -> bool:
        return self._evaluate(self.template["Conditions"][name])

    def find_broken_rules(self) -> list[str]:
        """Return what CloudFormation would say of the parameters: descriptions of failed assertions."""
        return [
            str(assertion["AssertDescription"])
            for rule in self.template.get("Rules", {}).values()
            if "RuleCondition" not in rule or self._evaluate(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self._evaluate(assertion["Assert"])
        ]

    def _evaluate(self, expression: Any) -> bool:
        match expression:
            case {"Fn::Equals": [left, right]}:
                return str(self.resolve(left)) == str(self.resolve(right))
            case {"Fn::And": parts}:
                return all(self._evaluate(part) for part in parts)
            case {"Fn::Or": parts}:
                return any(self._evaluate(part) for part in parts)
            case {"Fn::Not": [part]}:
                return not self._evaluate(part)
            case {"Fn::EachMemberEquals": [{"Ref": name}, text]}:
                return all(member == text for member in self.resolve({"Ref": name}))
            case {"Condition": name}:
                return self.condition_holds(name)
        raise AssertionError(f"not a condition: {expression}")

    def resolve(self, value: Any) -> Any:
        """Return `value` with everything evaluated that does not depend on a deployed resource."""
        match value:
            case {"Fn::If": [condition, then, otherwise]}:
                resolved = self.resolve(then if self.condition_holds(condition) else otherwise)
            case {"Ref": name}:
                resolved = self._resolve_ref(name)
            case {"Fn::GetAtt": [str(name), str(attribute)]}:
                resolved = self._resolve_attribute(name, attribute)
            case {"Fn::Select": _} | {"Fn::Split": _} | {"Fn::Join": _}:
                resolved = self._resolve_list_function(value)
            case {"Fn::Sub": [str(text), dict(names)]}:
                resolved = self._substitute(text, {name: self.resolve(part) for name, part in names.items()})
            case {"Fn::Sub": str(text)}:
                resolved = self._substitute(text, {})
            case dict():
                entries = {key: self.resolve(part) for key, part in value.items()}
                resolved = {key: part for key, part in entries.items() if part != _NO_VALUE}
            case list():
                resolved = [part for part in map(self.resolve, value) if part != _NO_VALUE]
            case _:
                resolved = value
        return resolved

    def _resolve_list_function(self, value: Any) -> Any:
        ((function, arguments),) = value.items()
        match self.resolve(arguments):
            case [index, list(options)] if function == "Fn::Select":
                return options[int(index)]
            case [str(separator), str(text)] if function == "Fn::Split":
                return text.split(separator)
            case [str(separator), [*parts]] if function == "Fn::Join" and all(
                isinstance(x, str) for x in parts
            ):
                return separator.join(parts)
            case unresolved:
                return {function: unresolved}

    def _resolve_ref(self, name: str) -> Any:
        if self._is_nested(name):
            stack_name = f"{self._stack_name}-{name}"
            return f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/{stack_name}/1b2c3d4e"
        if name not in self.parameters:
            return self._pseudo_parameters.get(name, {"Ref": name})
        value = self.parameters[name]
        is_list = self.template["Parameters"][name]["Type"] == "CommaDelimitedList"
        return value.split(",") if is_list and isinstance(value, str) else value

    def _resolve_attribute(self, name: str, attribute: str) -> Any:
        if self._is_nested(name) and attribute.startswith("Outputs."):
            nested = self._nest(name)
            return nested.resolve(nested.template["Outputs"][attribute.removeprefix("Outputs.")]["Value"])
        return {"Fn::GetAtt": [name, attribute]}

    def _substitute(self, text: str, names: Mapping[str, Any]) -> Any:
        """Return the text where every name in it is known, else a Sub of the names that are left."""
        left: dict[str, Any] = {}

        def replace(placeholder: re.Match[str]) -> str:
            name, _, attribute = placeholder[1].partition(".")
            if name in names:
                value = names[name]
            else:
                value = self._resolve_attribute(name, attribute) if attribute else self._resolve_ref(name)
            match value:
                case str() | int():
                    return str(value)
                case {"Ref": str(other)}:
                    return f"${{{other}}}"
                case {"Fn::GetAtt": [str(other), str(other_attribute)]}:
                    return f"${{{other}.{other_attribute}}}"
                case {"Fn::Sub": str(other_text)}:
                    return other_text
            left[name] = value
            return placeholder[0]

        replaced = _PLACEHOLDER.sub(replace, text)
        if "${" not in replaced:
            return replaced
        return {"Fn::Sub": [replaced, left] if left else replaced}

    @property
    def _pseudo_parameters(self) -> dict[str, str]:
        return {
            "AWS::AccountId": ACCOUNT_ID,
            "AWS::Region": REGION,
            "AWS::Partition": PARTITION,
            "AWS::StackName": self._stack_name,
            "AWS::URLSuffix": "amazonaws.com",
        }


class Stack:
    """The resources that exist with these parameters, those of nested stacks included.

    `is_local`: the templates were changed for the local stack.
    """

    def __init__(
        self,
        templates: Templates,
        parameters: Mapping[str, str],
        *,
        name: str = STACK_NAME,
        is_local: bool = False,
    ) -> None:
        self.templates = templates
        self.is_local = is_local
        self._main = _Scope(templates, MAIN, name, parameters)
        self.template = self._main.template
        self.parameters: dict[str, str] = self._main.parameters
        self.resources: dict[str, Resource] = {}
        self.declared_ids: set[str] = set()
        for scope in (self._main, *self._main.nested.values()):
            duplicates = self.declared_ids & scope.template["Resources"].keys()
            if duplicates:
                raise AssertionError(f"logical IDs of two templates: {sorted(duplicates)}")
            self.declared_ids |= scope.template["Resources"].keys()
            self.resources |= scope.resources

    @property
    def broken_rules(self) -> list[str]:
        """Why CloudFormation would reject these parameters."""
        return self._main.find_broken_rules()

    def get_output(self, name: str) -> Any:
        """Return the value of an output of the main template."""
        return self._main.resolve(self.template["Outputs"][name]["Value"])

    def of_type(self, kind: str) -> list[Resource]:
        """Return the resources of a type, named without the leading `AWS::`."""
        return [resource for resource in self.resources.values() if resource.type == f"AWS::{kind}"]

    def condition_holds(self, name: str) -> bool:
        """Evaluate a condition of the main template."""
        return self._main.condition_holds(name)

    def find_by_name(self, property_name: str, name: Any) -> str:
        """Return the logical ID of the function or queue whose FunctionName or QueueName is `name`, or ""."""
        for resource in self.of_type(_NAME_PROPERTIES[property_name]):
            if resource.properties.get(property_name) == name:
                return resource.id
        return ""


def referenced_id(value: Any) -> str:
    """Return the logical ID that a Ref, a GetAtt or a Sub of one name refers to; "" for anything else."""
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


def build_function_arn(name: str) -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{name}"


def iterate_parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every part of a value with its path, the value itself first."""
    yield path, value
    children: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        children = iter(value.items())
    elif isinstance(value, list):
        children = iter(enumerate(value))
    for key, part in children:
        yield from iterate_parts(part, f"{path}/{key}")


def iterate_references(value: Any) -> Iterator[str]:
    """Yield the logical ID in every Ref, GetAtt and Sub of a value."""
    for _, part in iterate_parts(value):
        match part:
            case {"Ref": str(name)}:
                yield name
            case {"Fn::GetAtt": [str(name), *_]}:
                yield name
            case {"Fn::Sub": str(text)} | {"Fn::Sub": [str(text), *_]}:
                yield from (placeholder.partition(".")[0] for placeholder in _PLACEHOLDER.findall(text))


@cache
def _read_template(path: str) -> Template:
    loaded: Template = load_yaml((ROOT / path).read_text(encoding="utf-8"))
    return loaded


def read_template(path: str = MAIN) -> Template:
    """Return a template as written, with intrinsic functions in their long form; a copy to change freely."""
    return copy.deepcopy(_read_template(path))


def transform(main: Template) -> Templates:
    """Apply the SAM transform to a main template, which is used up, and add the templates that it nests."""
    # The translator asks boto3 for the partition of the region.
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    nested = {
        resource["Properties"]["TemplateURL"]
        for resource in main["Resources"].values()
        if resource["Type"] == _NESTED_STACK
    }
    for resource in main["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = "s3://artifacts/code.zip"  # as `sam package` leaves it
    translated: Template = Translator({}, Parser()).translate(main, {})
    return {MAIN: translated} | {path: read_template(path) for path in sorted(nested)}


@cache
def _transformed() -> Templates:
    return transform(read_template())


@cache
def _load(name: str, parameters: frozenset[tuple[str, str]]) -> Stack:
    return Stack(_transformed(), dict(parameters), name=name)


def load_stack(stack_name: str = STACK_NAME, /, **parameters: str) -> Stack:
    """Return the stack with these parameters and defaults for the rest. It is shared: do not change it."""
    return _load(stack_name, frozenset(parameters.items()))
