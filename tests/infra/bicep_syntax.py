"""Reads the part of Bicep that `infra/` is written in: a tokenizer and a recursive-descent parser.

No Bicep compiler can be had where this project is tested. This one knows what `infra/` uses and refuses the rest, which
makes `bicep_deployment.py` able to go through a deployment as Azure would. That real Bicep is written is shown by a
parser of somebody else's (pycep) beside it. Language:
https://learn.microsoft.com/azure/azure-resource-manager/bicep/file
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

type Expression = tuple[Any, ...]

_TOKEN = re.compile(
    r"(?P<space>[ \t]+|//[^\n]*|\#disable-next-line[^\n]*)|(?P<newline>\n)|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<punctuation>\?\?|&&|\|\||==|!=|>=|<=|=>|::|\.\?|\[\?|[][{}()=:,?.!<>+\-*/%@|])"
)


class UnknownSyntaxError(Exception):
    """What was read is not the Bicep that is known here."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    line: int
    parts: tuple[Any, ...] = ()
    """Of a string: texts and expressions in turn."""


@dataclass(slots=True)
class Declaration:
    kind: str
    name: str
    value: Expression | None
    type: str = ""
    """The type of a param or output; the resource type of a resource; the path of a module."""
    version: str = ""
    existing: bool = False
    decorators: dict[str, list[Expression]] = field(default_factory=dict)
    condition: Expression | None = None
    loop: tuple[str, str | None, Expression] | None = None
    line: int = 0


def parse(path: Path) -> dict[str, Declaration]:
    """The declarations of a file, by name; an output's name begins with `output `."""
    return _Parser(tokens(path.read_text()), path.name).declarations()


def tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at, line = 0, 1
    while at < len(text):
        if text[at] == "'":
            token, at = _string(text, at, line)
            found.append(token)
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise UnknownSyntaxError(f"line {line}: {text[at : at + 20]!r}")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, match[0], line))
        line += kind == "newline"
        at = match.end()
    return [*found, Token("newline", "\n", line), Token("end", "", line)]


def _string(text: str, start: int, line: int) -> tuple[Token, int]:
    parts: list[Any] = []
    run, at = "", start + 1
    while text[at] != "'":
        if text[at] == "\n":
            raise UnknownSyntaxError(f"line {line}: a string has no end")
        if text[at] == "\\":
            run += text[at + 1]
            at += 2
        elif text.startswith("${", at):
            end = _closing(text, at + 2)
            inner = _Parser(tokens(text[at + 2 : end]), f"line {line}")
            parts += [run, inner.expression()]
            run, at = "", end + 1
        else:
            run += text[at]
            at += 1
    return Token("string", text[start : at + 1], line, (*parts, run)), at + 1


def _closing(text: str, at: int) -> int:
    """Where the interpolation that begins at `at` ends."""
    depth = 0
    while text[at] != "}" or depth:
        if text[at] == "'":
            at = _string(text, at, 0)[1]
            continue
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at


_BINARY = (("??",), ("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="), ("+", "-"), ("*", "/", "%"))


class _Parser:
    def __init__(self, found: list[Token], where: str) -> None:
        self._tokens, self._at, self._where = found, 0, where

    # -- tokens

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *texts: str, kind: str = "") -> Token:
        token = self._next
        if (texts and (token.text not in texts or token.kind == "string")) or (kind and token.kind != kind):
            raise UnknownSyntaxError(
                f"{self._where}, line {token.line}: {token.text!r} where {texts or kind} is expected"
            )
        self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self._next.kind != "string" and self._next.text in texts

    def _if(self, text: str) -> bool:
        if found := self._is(text):
            self._at += 1
        return found

    def _lines(self) -> None:
        while self._next.kind == "newline":
            self._at += 1

    # -- declarations

    def declarations(self) -> dict[str, Declaration]:
        found: dict[str, Declaration] = {}
        decorators: dict[str, list[Expression]] = {}
        self._lines()
        while self._next.kind != "end":
            if self._if("@"):
                name = self._take(kind="name").text
                decorators[name] = self._arguments()
            else:
                declared = self._declaration()
                declared.decorators, decorators = decorators, {}
                key = f"output {declared.name}" if declared.kind == "output" else declared.name
                if key in found:
                    raise UnknownSyntaxError(f"{self._where}: {key} is declared twice")
                found[key] = declared
            self._take(kind="newline")
            self._lines()
        return found

    def _declaration(self) -> Declaration:
        line = self._next.line
        kind = self._take("targetScope", "param", "var", "output", "resource", "module").text
        if kind == "targetScope":
            self._take("=")
            return Declaration(kind, kind, self.expression(), line=line)
        declared = Declaration(kind, self._take(kind="name").text, None, line=line)
        if kind in ("param", "output"):
            declared.type = self._take("string", "int", "bool", "object", "array").text
        elif kind in ("resource", "module"):
            declared.type, _, declared.version = self._take(kind="string").text.strip("'").partition("@")
            declared.existing = self._if("existing")
        if kind == "param" and not self._is("="):
            return declared
        self._take("=")
        if kind in ("resource", "module"):
            self._body(declared)
        else:
            declared.value = self.expression()
        return declared

    def _body(self, declared: Declaration) -> None:
        if self._if("if"):
            self._take("(")
            declared.condition = self.expression()
            self._take(")")
        looped = self._if("[")
        if looped:
            declared.loop = self._for()
        declared.value = self._object()
        if looped:
            self._take("]")

    def _for(self) -> tuple[str, str | None, Expression]:
        self._take("for")
        index = None
        if self._if("("):
            item = self._take(kind="name").text
            self._take(",")
            index = self._take(kind="name").text
            self._take(")")
        else:
            item = self._take(kind="name").text
        self._take("in")
        over = self.expression()
        self._take(":")
        return item, index, over

    # -- expressions

    def expression(self) -> Expression:
        asked = self._binary(0)
        if not self._if("?"):
            return asked
        then = self.expression()
        self._take(":")
        return ("if", asked, then, self.expression())

    def _binary(self, level: int) -> Expression:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while self._is(*_BINARY[level]):
            operator = self._take().text
            left = ("operator", operator, left, self._binary(level + 1))
        return left

    def _unary(self) -> Expression:
        if self._is("!", "-"):
            return ("unary", self._take().text, self._unary())
        found = self._primary()
        while True:
            if self._if("."):
                found = ("member", found, self._take(kind="name").text)
            elif self._is("[", "[?"):
                kind = "item" if self._take().text == "[" else "item or null"
                found = (kind, found, self.expression())
                self._take("]")
            elif self._is("!") and self._tokens[self._at + 1].text == ".":
                self._take("!")
                found = ("not null", found)
            else:
                return found

    def _primary(self) -> Expression:
        token = self._next
        if token.kind == "string":
            self._at += 1
            return ("string", *token.parts)
        if token.kind == "number":
            self._at += 1
            return ("value", int(token.text))
        if self._is("{"):
            return self._object()
        if self._is("["):
            return self._array()
        if self._if("("):
            inner = self.expression()
            self._take(")")
            return inner
        name = self._take(kind="name").text
        if name in ("true", "false", "null"):
            return ("value", {"true": True, "false": False, "null": None}[name])
        return ("call", name, self._arguments()) if self._is("(") else ("name", name, token.line)

    def _arguments(self) -> list[Expression]:
        self._take("(")
        found: list[Expression] = []
        while not self._if(")"):
            found.append(self.expression())
            if not self._is(")"):
                self._take(",")
        return found

    def _array(self) -> Expression:
        self._take("[")
        if self._is("for"):
            item, index, over = self._for()
            body = self.expression()
            self._take("]")
            return ("for", item, index, over, body)
        found: list[Expression] = []
        self._lines()
        while not self._if("]"):
            found.append(self.expression())
            self._separator("]")
        return ("array", found)

    def _object(self) -> Expression:
        self._take("{")
        found: list[tuple[Expression, Expression]] = []
        self._lines()
        while not self._if("}"):
            token = self._next
            self._at += 1
            key: Expression = ("string", *token.parts) if token.kind == "string" else ("string", token.text)
            self._take(":")
            found.append((key, self.expression()))
            self._separator("}")
        return ("object", found)

    def _separator(self, end: str) -> None:
        if not self._if(",") and not self._is(end):
            self._take(kind="newline")
        self._lines()
