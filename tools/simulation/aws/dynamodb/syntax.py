"""The grammar of DynamoDB's expressions: text to syntax trees.

Conditions, filters and key conditions share one grammar, updates and projections have their own (Amazon
DynamoDB developer guide, "Condition and filter expressions, operators, and functions" and "Update
expressions").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

from tools.simulation.aws.errors import validation_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.aws.errors import RejectedError

# Amazon DynamoDB developer guide, "Reserved words in DynamoDB"
_RESERVED_WORDS = frozenset(ReservedKeywords.get_reserved_keywords())
_TOKEN = re.compile(r"\s*(?:(?P<word>[#:]?[A-Za-z_0-9]+)|(?P<sign><>|<=|>=|[<>=(),.\[\]+-]))")
_END = "<EOF>"
# As sent, with placeholders (Amazon DynamoDB developer guide, "Expression parameters")
_MAX_EXPRESSION_BYTES = 4096
_COMPARATORS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_PREDICATES = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
}


@dataclass(frozen=True, slots=True)
class Path:
    """A document path; names that begin with `#` are placeholders."""

    parts: tuple[str | int, ...]

    def show(self) -> str:
        return ".".join(f"[{part}]" if isinstance(part, int) else part for part in self.parts)


@dataclass(frozen=True, slots=True)
class ValueName:
    """A placeholder of a value, with its colon."""

    name: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    name: str
    arguments: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    sign: str
    left: Operand
    right: Operand


type Operand = Path | ValueName | FunctionCall | Arithmetic


@dataclass(frozen=True, slots=True)
class Comparison:
    sign: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Between:
    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True, slots=True)
class In:
    operand: Operand
    options: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Not:
    condition: Condition


@dataclass(frozen=True, slots=True)
class Junction:
    """Several conditions joined by `AND` or `OR`."""

    word: str
    conditions: tuple[Condition, ...]


type Condition = Comparison | Between | In | FunctionCall | Not | Junction


@dataclass(frozen=True, slots=True)
class Action:
    """One action of an update: `section` is SET, REMOVE, ADD or DELETE; REMOVE has no operand."""

    section: str
    path: Path
    operand: Operand | None


class _Tokens:
    """The tokens of an expression, and the placeholders that were taken from it."""

    def __init__(self, text: str, kind: str) -> None:
        self.kind = kind
        self.names: set[str] = set()
        self.values: set[str] = set()
        self.attributes: set[str] = set()
        self._tokens: list[str] = []
        self.position = 0
        end = 0
        text = text.rstrip()
        if not text:
            raise validation_error(f"Invalid {kind}: The expression can not be empty;")
        while end < len(text):
            match = _TOKEN.match(text, end)
            if match is None:
                raise self.syntax_error(text[end:].strip()[:1])
            self._tokens.append(match[0].strip())
            end = match.end()

    def syntax_error(self, token: str) -> RejectedError:
        near = " ".join(self._tokens[max(self.position - 1, 0) : self.position + 2])
        return validation_error(f'Invalid {self.kind}: Syntax error; token: "{token}", near: "{near}"')

    @property
    def next(self) -> str:
        return self._tokens[self.position] if self.position < len(self._tokens) else _END

    @property
    def next_word(self) -> str:
        """The next token in capitals, as keywords may be written in any case."""
        return self.next.upper()

    @property
    def is_followed_by_parenthesis(self) -> bool:
        return self._tokens[self.position + 1 : self.position + 2] == ["("]

    def take(self, expected: str | None = None) -> str:
        token = self.next
        if token == _END or (expected is not None and token.upper() != expected):
            raise self.syntax_error(token)
        self.position += 1
        return token

    def take_if(self, expected: str) -> bool:
        if self.next_word == expected:
            self.position += 1
            return True
        return False

    def end(self) -> None:
        if self.next != _END:
            raise self.syntax_error(self.next)

    def list_of[Element](self, parse: Callable[[_Tokens], Element]) -> tuple[Element, ...]:
        elements = [parse(self)]
        while self.take_if(","):
            elements.append(parse(self))
        return tuple(elements)


@dataclass(frozen=True, slots=True)
class Parsed[Tree]:
    """A syntax tree with the placeholders of names and values in it, and the first names of its paths."""

    tree: Tree
    names: frozenset[str]
    values: frozenset[str]
    attributes: frozenset[str]


def parse_condition(text: str, kind: str) -> Parsed[Condition]:
    """Parse a condition; `kind` is the name of the parameter, for messages."""
    return _parse(text, kind, _parse_or)


def parse_update(text: str) -> Parsed[tuple[Action, ...]]:
    return _parse(text, "UpdateExpression", _parse_sections)


def parse_projection(text: str) -> Parsed[tuple[Path, ...]]:
    return _parse(text, "ProjectionExpression", lambda tokens: tokens.list_of(_parse_path))


def _parse[Tree](text: str, kind: str, parse: Callable[[_Tokens], Tree]) -> Parsed[Tree]:
    if (size := len(text.encode())) > _MAX_EXPRESSION_BYTES:
        raise validation_error(
            f"Invalid {kind}: Expression size has exceeded the maximum allowed size; expression size: {size}"
        )
    tokens = _Tokens(text, kind)
    tree = parse(tokens)
    tokens.end()
    return Parsed(tree, frozenset(tokens.names), frozenset(tokens.values), frozenset(tokens.attributes))


def _parse_or(tokens: _Tokens) -> Condition:
    conditions = [_parse_and(tokens)]
    while tokens.take_if("OR"):
        conditions.append(_parse_and(tokens))
    return conditions[0] if len(conditions) == 1 else Junction("OR", tuple(conditions))


def _parse_and(tokens: _Tokens) -> Condition:
    conditions = [_parse_not(tokens)]
    while tokens.take_if("AND"):
        conditions.append(_parse_not(tokens))
    return conditions[0] if len(conditions) == 1 else Junction("AND", tuple(conditions))


def _parse_not(tokens: _Tokens) -> Condition:
    if tokens.take_if("NOT"):
        return Not(_parse_not(tokens))
    if tokens.next != "(":
        return _parse_predicate(tokens)
    tokens.take("(")
    if tokens.next == "(":
        start = tokens.position
        _parse_not(tokens)
        if tokens.next == ")":
            raise validation_error(f"Invalid {tokens.kind}: The expression has redundant parentheses;")
        tokens.position = start
    condition = _parse_or(tokens)
    tokens.take(")")
    return condition


def _parse_predicate(tokens: _Tokens) -> Condition:
    if tokens.is_followed_by_parenthesis and tokens.next in _PREDICATES:
        return _parse_call(tokens, _PREDICATES[tokens.next])
    operand = _parse_comparable(tokens)
    if tokens.next in _COMPARATORS:
        return Comparison(tokens.take(), operand, _parse_comparable(tokens))
    if tokens.take_if("BETWEEN"):
        low = _parse_comparable(tokens)
        tokens.take("AND")
        return Between(operand, low, _parse_comparable(tokens))
    tokens.take("IN")
    tokens.take("(")
    options = tokens.list_of(_parse_comparable)
    tokens.take(")")
    return In(operand, options)


def _parse_comparable(tokens: _Tokens) -> Operand:
    """Parse an operand of a condition."""
    if tokens.is_followed_by_parenthesis:
        if tokens.next != "size":
            raise _invalid_function(tokens)
        return _parse_call(tokens, 1)
    return _parse_simple(tokens)


def _parse_call(
    tokens: _Tokens, count: int, parse: Callable[[_Tokens], Operand] | None = None
) -> FunctionCall:
    name = tokens.take()
    tokens.take("(")
    arguments = tokens.list_of(parse or _parse_simple)
    tokens.take(")")
    if len(arguments) != count:
        raise validation_error(
            f"Invalid {tokens.kind}: Incorrect number of operands for operator or function; operator or"
            f" function: {name}, number of operands: {len(arguments)}"
        )
    return FunctionCall(name, arguments)


def _invalid_function(tokens: _Tokens) -> RejectedError:
    return validation_error(f"Invalid {tokens.kind}: Invalid function name; function: {tokens.next}")


def _parse_simple(tokens: _Tokens) -> Operand:
    if not tokens.next.startswith(":"):
        return _parse_path(tokens)
    name = tokens.take()
    tokens.values.add(name)
    return ValueName(name)


def _parse_path(tokens: _Tokens) -> Path:
    parts: list[str | int] = [_parse_name(tokens)]
    tokens.attributes.add(str(parts[0]))
    while True:
        if tokens.take_if("."):
            parts.append(_parse_name(tokens))
        elif tokens.take_if("["):
            parts.append(int(tokens.take()))
            tokens.take("]")
        else:
            return Path(tuple(parts))


def _parse_name(tokens: _Tokens) -> str:
    if not re.match(r"[#A-Za-z]", tokens.next):
        raise tokens.syntax_error(tokens.next)
    name = tokens.take()
    if name.startswith("#"):
        tokens.names.add(name)
    elif name.upper() in _RESERVED_WORDS:
        raise validation_error(
            f"Invalid {tokens.kind}: Attribute name is a reserved keyword; reserved keyword: {name}"
        )
    return name


def _parse_sections(tokens: _Tokens) -> tuple[Action, ...]:
    actions: list[Action] = []
    seen: set[str] = set()
    while not seen or tokens.next != _END:
        section = tokens.next_word
        if section not in _SECTIONS:
            raise tokens.syntax_error(tokens.next)
        if section in seen:
            raise validation_error(
                f'Invalid UpdateExpression: The "{section}" section can only be used once in an update'
                " expression;"
            )
        seen.add(section)
        tokens.take()
        actions.extend(tokens.list_of(_SECTIONS[section]))
    return tuple(actions)


def _parse_set(tokens: _Tokens) -> Action:
    path = _parse_path(tokens)
    tokens.take("=")
    operand = _parse_settable(tokens)
    if tokens.next in {"+", "-"}:
        operand = Arithmetic(tokens.take(), operand, _parse_settable(tokens))
    return Action("SET", path, operand)


def _parse_settable(tokens: _Tokens) -> Operand:
    if not tokens.is_followed_by_parenthesis:
        return _parse_simple(tokens)
    if tokens.next not in {"if_not_exists", "list_append"}:
        raise _invalid_function(tokens)
    call = _parse_call(tokens, 2, _parse_settable)
    if call.name == "if_not_exists" and not isinstance(call.arguments[0], Path):
        raise validation_error(
            "Invalid UpdateExpression: Operator or function requires a document path; operator or function:"
            " if_not_exists"
        )
    return call


def _parse_addition(tokens: _Tokens, section: str) -> Action:
    path = _parse_path(tokens)
    if len(path.parts) > 1:
        raise NotImplementedError(f"{section} of the nested attribute {path.show()}")
    if not tokens.next.startswith(":"):
        raise tokens.syntax_error(tokens.next)
    return Action(section, path, _parse_simple(tokens))


_SECTIONS: dict[str, Callable[[_Tokens], Action]] = {
    "SET": _parse_set,
    "REMOVE": lambda tokens: Action("REMOVE", _parse_path(tokens), None),
    "ADD": lambda tokens: _parse_addition(tokens, "ADD"),
    "DELETE": lambda tokens: _parse_addition(tokens, "DELETE"),
}
