"""As much of the Kusto Query Language as the project's queries use, over rows in memory.

https://learn.microsoft.com/kusto/query/: `where`, `extend`, `project`, `parse` (simple), `summarize`,
`order by`. What it does not know it refuses, a column that the table does not have above all: a query that would fail
or find nothing in Azure should fail here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

type Row = dict[str, Any]
type Tables = Mapping[str, Iterable[Row]]

# The columns of https://learn.microsoft.com/azure/azure-monitor/reference/tables-index that queries may use.
COLUMNS = {
    "AppTraces": {"TimeGenerated", "Message", "SeverityLevel", "OperationId", "Properties"},
    "AppRequests": {"TimeGenerated", "Name", "Success", "ResultCode", "DurationMs", "OperationId", "Properties"},
    "AppMetrics": {"TimeGenerated", "Name", "Sum", "Min", "Max", "ItemCount", "Properties"},
    "AppDependencies": {"TimeGenerated", "Name", "Success", "DurationMs", "OperationId", "Properties"},
}
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*'|\"[^\"]*\")|(?P<span>\d+(?:d|h|m|s)\b)|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>==|!=|>=|<=|[><=+\-*/(),\[\]]))"
)
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    ">": lambda left, right: left is not None and left > right,
    "<": lambda left, right: left is not None and left < right,
    ">=": lambda left, right: left is not None and left >= right,
    "<=": lambda left, right: left is not None and left <= right,
    "startswith": lambda left, right: left.lower().startswith(right.lower()),
    "endswith": lambda left, right: left.lower().endswith(right.lower()),
    "contains": lambda left, right: right.lower() in left.lower(),
    "has": lambda left, right: _has(left, right),
}


def run(query: str, tables: Tables) -> list[Row]:
    """The rows of `query`. Raises ValueError for what this does not know, KeyError for a column that is not there."""
    lines = [line for line in query.splitlines() if not line.lstrip().startswith("//")]
    source, *operators = (part.strip() for part in _split("\n".join(lines), "|"))
    rows = [{name: row.get(name) for name in COLUMNS[source]} for row in tables[source]]
    for operator in operators:
        word, _, rest = operator.partition(" ")
        rows = _OPERATORS[word](rest.strip(), rows)
    return rows


def _where(text: str, rows: list[Row]) -> list[Row]:
    test = _Expression(text).whole()
    return [row for row in rows if test(row, [row])]


def _extend(text: str, rows: list[Row]) -> list[Row]:
    for part in _split(text, ","):
        name, value = _named(part)
        rows = [{**row, name: value(row, [row])} for row in rows]
    return rows


def _project(text: str, rows: list[Row]) -> list[Row]:
    columns = [_named(part) for part in _split(text, ",")]
    return [{name: value(row, [row]) for name, value in columns} for row in rows]


def _summarize(text: str, rows: list[Row]) -> list[Row]:
    sums, _, keys = text.partition(" by ")
    by = [_named(part) for part in _split(keys, ",")] if keys else []
    groups: dict[tuple[Any, ...], list[Row]] = {} if by else {(): rows}
    for row in rows if by else []:
        groups.setdefault(tuple(key(row, [row]) for _, key in by), []).append(row)
    wanted = [_named(part) for part in _split(sums, ",")]
    return [
        {
            **{name: value for (name, _), value in zip(by, found, strict=True)},
            **{name: add({}, group) for name, add in wanted},
        }
        for found, group in groups.items()
    ]


def _order(text: str, rows: list[Row]) -> list[Row]:
    found = re.fullmatch(r"by (\w+)(?: (asc|desc))?", text)
    if found is None:
        raise ValueError(f"order {text}")
    return sorted(rows, key=lambda row: row[found[1]], reverse=found[2] != "asc")


def _parse(text: str, rows: list[Row]) -> list[Row]:
    column, _, pattern = text.partition(" with ")
    names, expression = [], ""
    for part in re.findall(r"\*|'[^']*'|\w+", pattern):
        if part == "*":
            expression += ".*?"
        elif part.startswith("'"):
            expression += re.escape(part[1:-1])
        else:
            names.append(part)
            expression += "(.*?)"
    matched = [(row, re.fullmatch(expression, row[column.strip()], re.DOTALL)) for row in rows]
    return [
        {**row, **{name: found[at + 1] if found else "" for at, name in enumerate(names)}} for row, found in matched
    ]


_OPERATORS = {
    "where": _where,
    "extend": _extend,
    "project": _project,
    "summarize": _summarize,
    "order": _order,
    "parse": _parse,
}

type _Value = Callable[[Row, list[Row]], Any]


def _named(text: str) -> tuple[str, _Value]:
    """`Name = expression`, or an expression that is a column."""
    found = re.match(r"(\w+)\s*=(?!=)\s*", text)
    name = found[1] if found else re.match(r"(?:bin\()?(\w+)", text)[1]  # type: ignore[index]
    return name, _Expression(text[found.end() :] if found else text).whole()


def _split(text: str, sign: str) -> list[str]:
    """`text` at each `sign` outside of quotes, parentheses and brackets."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "([") - (character in ")]")
        if character == sign and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


class _Expression:
    """A parser of expressions: each method gives a function of a row and of the group it stands for."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position, text = 0, text.strip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None or found.lastgroup is None:
                raise ValueError(text[position:])
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()

    def whole(self) -> _Value:
        value = self._either()
        if self._tokens:
            raise ValueError(f"not understood: {self._tokens}")
        return value

    def _next(self, *wanted: str) -> str | None:
        if self._tokens and self._tokens[0][1] in wanted and self._tokens[0][0] != "text":
            return self._tokens.pop(0)[1]
        return None

    def _either(self) -> _Value:
        values = [self._both()]
        while self._next("or"):
            values.append(self._both())
        return values[0] if len(values) == 1 else lambda row, group: any(value(row, group) for value in values)

    def _both(self) -> _Value:
        values = [self._comparison()]
        while self._next("and"):
            values.append(self._comparison())
        return values[0] if len(values) == 1 else lambda row, group: all(value(row, group) for value in values)

    def _comparison(self) -> _Value:
        left = self._sum()
        if self._next("in"):
            choices = self._arguments()
            return lambda row, group: left(row, group) in [choice(row, group) for choice in choices]
        if sign := self._next(*_COMPARISONS):
            compare, right = _COMPARISONS[sign], self._sum()
            return lambda row, group: compare(left(row, group), right(row, group))
        return left

    def _sum(self) -> _Value:
        left = self._one()
        while sign := self._next("+", "-", "/", "*"):
            left = _arithmetic(sign, left, self._one())
        return left

    def _one(self) -> _Value:
        kind, text = self._tokens.pop(0)
        value: _Value
        if kind == "text":
            value = _constant(text[1:-1])
        elif kind == "number":
            value = _constant(float(text))
        elif kind == "span":
            value = _constant(timedelta(**{_UNITS[text[-1]]: int(text[:-1])}))
        elif text == "(":
            value = self._either()
            self._expect(")")
        elif text in ("true", "false"):
            value = _constant(text == "true")
        elif self._tokens and self._tokens[0][1] == "(":
            value = _call(text, self._arguments())
        elif kind == "name":
            value = lambda row, _: row[text]  # noqa: E731
        else:
            raise ValueError(text)
        while self._next("["):
            value = _member(value, self._either())
            self._expect("]")
        return value

    def _arguments(self) -> list[_Value]:
        self._expect("(")
        found: list[_Value] = []
        while not self._next(")"):
            found.append(self._either())
            self._next(",")
        return found

    def _expect(self, sign: str) -> None:
        if self._next(sign) is None:
            raise ValueError(f"no {sign} before {self._tokens}")


def _constant(value: Any) -> _Value:
    return lambda _, __: value


def _member(of: _Value, which: _Value) -> _Value:
    def take(row: Row, group: list[Row]) -> Any:
        whole, key = of(row, group), which(row, group)
        if isinstance(whole, list):
            return whole[int(key)] if int(key) < len(whole) else None
        return (whole or {}).get(key)

    return take


def _arithmetic(sign: str, left: _Value, right: _Value) -> _Value:
    work: dict[str, Callable[[Any, Any], Any]] = {
        "+": lambda one, two: one + two,
        "-": lambda one, two: one - two,
        "*": lambda one, two: one * two,
        "/": lambda one, two: one / two,
    }
    return lambda row, group: work[sign](left(row, group), right(row, group))


_SCALARS: dict[str, Callable[..., Any]] = {
    "tostring": lambda value: "" if value is None else str(value),
    "toint": lambda value: int(value) if str(value).lstrip("-").isdigit() else None,
    "isempty": lambda value: value in (None, ""),
    "split": lambda text, sign: text.split(sign),
    "now": lambda: datetime.now(UTC),
    "ago": lambda span: datetime.now(UTC) - span,
    "todatetime": lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
    "bin": lambda time, span: datetime.fromtimestamp(
        time.timestamp() // span.total_seconds() * span.total_seconds(), UTC
    ),
}
_AGGREGATES: dict[str, Callable[[list[Any], list[Any]], Any]] = {
    "count": lambda values, _: len(values),
    "countif": lambda values, _: sum(map(bool, values)),
    "sum": lambda values, _: sum(values),
    "max": lambda values, _: max(values),
    "percentile": lambda values, more: sorted(values)[min(int(len(values) * more[0] / 100), len(values) - 1)],
}


def _call(name: str, arguments: list[_Value]) -> _Value:
    if name in _AGGREGATES:
        value, more = arguments[0] if arguments else _constant(1), arguments[1:]
        return lambda row, group: _AGGREGATES[name](
            [value(one, [one]) for one in group], [argument(row, group) for argument in more]
        )
    work = _SCALARS[name]
    return lambda row, group: work(*(argument(row, group) for argument in arguments))


def _has(text: str, term: str) -> bool:
    """Whole terms: what is beside `term` in `text` is no letter or digit where the term's own end is one."""
    before = r"(?<![A-Za-z0-9])" if term[:1].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if term[-1:].isalnum() else ""
    return re.search(f"{before}{re.escape(term)}{after}", text, re.IGNORECASE) is not None
