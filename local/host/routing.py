"""Which function a request is for: ASP.NET Core route templates, as the Functions host matches them.

`frontend.py` builds one `Router` from the app's HTTP functions. Matching ignores case, literal segments win over
parameters, constrained parameters over free ones, catch-alls come last (RoutePrecedence.cs in dotnet/aspnetcore).
A path that fits no template, and a method that fits none of the templates it fits, are both 404: the Functions host
routes methods by a constraint (WebScriptHostHttpRoutesManager.cs) and so never answers 405.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from local.host.metadata import Function

_NUMBER = r"[+-]?\d+"
_FLOAT = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_GUID = r"\{?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?|[0-9a-fA-F]{32}"


def _pattern(expression: str) -> Callable[[str, list[str]], bool]:
    compiled = re.compile(expression)
    return lambda value, _: compiled.fullmatch(value) is not None


def _integer(bits: int) -> Callable[[str, list[str]], bool]:
    return lambda value, _: (
        re.fullmatch(_NUMBER, value) is not None and -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1)
    )


def _length(value: str, bounds: list[str]) -> bool:
    return int(bounds[0]) <= len(value) <= int(bounds[-1])


def _range(value: str, bounds: list[str]) -> bool:
    return re.fullmatch(_NUMBER, value) is not None and int(bounds[0]) <= int(value) <= int(bounds[1])


_CONSTRAINTS: dict[str, Callable[[str, list[str]], bool]] = {
    "int": _integer(32),
    "long": _integer(64),
    "bool": _pattern(r"(?i:true|false)"),
    "guid": _pattern(_GUID),
    "alpha": _pattern(r"[A-Za-z]*"),
    "decimal": _pattern(_FLOAT),
    "double": _pattern(_FLOAT),
    "float": _pattern(_FLOAT),
    "length": _length,
    "minlength": lambda value, bounds: len(value) >= int(bounds[0]),
    "maxlength": lambda value, bounds: len(value) <= int(bounds[0]),
    "min": lambda value, bounds: re.fullmatch(_NUMBER, value) is not None and int(value) >= int(bounds[0]),
    "max": lambda value, bounds: re.fullmatch(_NUMBER, value) is not None and int(value) <= int(bounds[0]),
    "range": _range,
    "required": lambda value, _: bool(value),
    "regex": lambda value, pattern: re.search(",".join(pattern), value, re.IGNORECASE) is not None,
}


class RouteTemplateError(Exception):
    """A route template that this host cannot read; the message names it."""


@dataclass(frozen=True)
class _Parameter:
    name: str
    catch_all: bool
    optional: bool
    default: str | None
    constraints: tuple[tuple[str, tuple[str, ...]], ...]

    def accepts(self, value: str) -> bool:
        return all(_CONSTRAINTS[name](value, list(arguments)) for name, arguments in self.constraints)


class Route:
    """One template, such as `api/jobs/{id:length(26)}/{*rest}`, bound to a function."""

    def __init__(self, template: str, function: Function) -> None:
        self.template, self.function = template, function
        methods = function.trigger.get("methods")
        self.methods = frozenset(method.upper() for method in methods) if methods else None
        self._parameters: dict[str, _Parameter] = {}
        self._groups: dict[str, str] = {}
        expression, precedence = "", []
        for segment in filter(None, split_segments(template)):
            part, digit = self._segment(segment)
            expression += part
            precedence.append(digit)
        self.precedence = (tuple(precedence), template.lower())
        self._expression = re.compile(expression, re.IGNORECASE)

    def _segment(self, segment: str) -> tuple[str, int]:
        """The expression of one segment with its slash, and its digit of precedence."""
        pieces = re.split(r"(\{(?:[^{}]|\{\{|\}\})*\})", segment)
        names = [self._read_parameter(piece) for piece in pieces if piece.startswith("{")]
        if not names:
            return "/" + re.escape(segment), 1
        if len([piece for piece in pieces if piece]) > 1:
            body = "".join(
                f"(?P<{self._read_parameter(piece)}>[^/]+)" if piece.startswith("{") else re.escape(piece)
                for piece in pieces
            )
            return "/" + body, 2
        group = names[0]
        parameter = self._parameters[group]
        if parameter.catch_all:
            return f"(?:/(?P<{group}>.*))?", 4 if parameter.constraints else 5
        omissible = "?" if parameter.optional or parameter.default is not None else ""
        return f"(?:/(?P<{group}>[^/]+)){omissible}", 2 if parameter.constraints else 3

    def _read_parameter(self, piece: str) -> str:
        """Read `{*name:constraint(a,b)=default?}` and return the name of its group."""
        text = piece[1:-1].replace("{{", "{").replace("}}", "}")
        stars = len(text) - len(text.lstrip("*"))
        text, optional = text[stars:].removesuffix("?"), text.endswith("?")
        text, _, default = text.partition("=") if "(" not in text else (text, "", "")
        name, *constraints = re.split(r":(?![^(]*\))", text)
        read = []
        for constraint in constraints:
            kind, _, arguments = constraint.removesuffix(")").partition("(")
            if kind.lower() not in _CONSTRAINTS:
                raise RouteTemplateError(f"Route '{self.template}': the constraint '{kind}' is not known here.")
            separated = (argument.strip() for argument in arguments.split(","))
            read.append((kind.lower(), tuple(separated) if arguments else ()))
        group = self._groups.setdefault(name, f"p{len(self._groups)}")
        self._parameters[group] = _Parameter(name, stars > 0, optional, default or None, tuple(read))
        return group

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters of `path` (as `normalise` gives it), or None when it does not fit."""
        found = self._expression.fullmatch(path)
        if found is None:
            return None
        parameters = {}
        for group, parameter in self._parameters.items():
            value = found[group] or parameter.default
            if value is None:
                continue
            if not parameter.accepts(value):
                return None
            parameters[parameter.name] = value
        return parameters


class Router:
    """All HTTP functions of an app under `prefix`. Raises RouteTemplateError for a template it cannot read."""

    def __init__(self, functions: list[Function], prefix: str) -> None:
        routes = []
        for function in functions:
            if function.kind == "httpTrigger":
                template = (function.trigger.get("route") or function.name).strip("/")
                routes.append(Route("/".join(filter(None, (prefix, template))), function))
        self.routes = sorted(routes, key=lambda route: route.precedence)

    def find(self, method: str, path: str) -> tuple[Function, dict[str, str]] | None:
        """The function for a request and its route parameters, or None."""
        for route in self.routes:
            if (route.methods is None or method in route.methods) and (parameters := route.match(path)) is not None:
                return route.function, parameters
        return None


def split_segments(template: str) -> list[str]:
    """A template's segments; a slash inside braces (in a regex) separates nothing."""
    return re.split(r"/(?![^{]*\})", template)


def normalise(raw_path: bytes) -> str:
    """The path to match, from the bytes of the request line, as Kestrel makes it.

    Percent-encoding is undone except for `%2F`, so that an encoded slash stays inside its segment; then `.` and `..`
    are resolved; a closing slash is dropped.
    """
    segments: list[str] = []
    for encoded in raw_path.decode("latin-1").split("/")[1:]:
        segment = "%2F".join(unquote(piece) for piece in re.split("%2[fF]", encoded))
        if segment == "..":
            segments[-1:] = []
        elif segment != ".":
            segments.append(segment)
    return "".join(f"/{segment}" for segment in segments).rstrip("/")


def request_target(raw_path: bytes) -> str:
    """The path to forward: as it came, unless it has `.` or `..` segments, which the worker must not see."""
    if b"/." not in raw_path and b"/%2e" not in raw_path.lower():
        return raw_path.decode("latin-1")
    pieces = normalise(raw_path).split("%2F")
    return "%2F".join(quote(piece, safe="/:@!$&'()*+,;=~") for piece in pieces) or "/"
