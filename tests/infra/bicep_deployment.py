"""Goes through a deployment of `infra/` as Azure Resource Manager would, and says what it would ask for.

Every name must be declared, every param of a module given, known and of its type, every output there; what has to be
known before a deployment starts (names, conditions, loops, scopes) may use no value that is known only later. What only
Azure can tell (endpoints, ids of principals) comes from `_later`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.infra.bicep_syntax import Declaration, Expression, parse

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
TENANT = "99999999-8888-7777-6666-555555555555"
TRIGGER_KEY = "the-blob-triggers-key"
_TYPES: dict[str, type] = {"string": str, "int": int, "bool": bool, "array": list, "object": dict}


class DeploymentError(Exception):
    """Azure or the Bicep compiler would refuse this."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """One resource that Azure is asked for, or that is referred to (`existing`)."""

    file: str
    symbol: str
    type: str
    version: str
    name: str
    body: dict[str, Any]
    id: str
    existing: bool = False

    def at(self, path: str) -> Any:
        """The value at a dotted path of the body; None where there is none."""
        found: Any = self.body
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found


def _later(resource: Deployed) -> dict[str, Any]:
    name, kind = resource.name, resource.type
    services = {part: f"https://{name}.{part}.core.windows.net/" for part in ("blob", "queue", "table")}
    known: dict[str, dict[str, Any]] = {
        "Microsoft.Storage/storageAccounts": {"properties": {"primaryEndpoints": services}},
        "Microsoft.ManagedIdentity/userAssignedIdentities": {
            "properties": {"principalId": f"principal of {name}", "clientId": f"client id of {name}"}
        },
        "Microsoft.Logic/workflows": {"identity": {"principalId": f"principal of {name}"}},
        "Microsoft.EventGrid/topics": {
            "identity": {"principalId": f"principal of {name}"},
            "properties": {"endpoint": f"https://{name}.region-1.eventgrid.azure.net/api/events"},
        },
        "Microsoft.EventGrid/systemTopics": {"identity": {"principalId": f"principal of {name}"}},
        "Microsoft.KeyVault/vaults": {"properties": {"vaultUri": f"https://{name}.vault.azure.net/"}},
        "Microsoft.Insights/components": {"properties": {"ConnectionString": f"InstrumentationKey=of {name}"}},
        "Microsoft.Web/sites": {"properties": {"defaultHostName": f"{name}-a1b2.somewhere-01.azurewebsites.net"}},
    }
    return known.get(kind, {})


@dataclass(slots=True)
class Deployment:
    """A file with its params; `resources` holds those of its modules as well."""

    path: Path
    params: Mapping[str, Any]
    scope: str = f"/subscriptions/{SUBSCRIPTION}"
    resources: list[Deployed] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    _declared: dict[str, Declaration] = field(default_factory=dict)
    _values: dict[str, Any] = field(default_factory=dict)
    _before_start: int = 0

    def run(self) -> Deployment:
        self._declared = parse(self.path)
        known = {name for name, declared in self._declared.items() if declared.kind == "param"}
        if unknown := self.params.keys() - known:
            raise DeploymentError(f"{self.path.name} has no param {', '.join(sorted(unknown))}")
        for name, declared in self._declared.items():
            value = self._value(name)
            if declared.kind == "output":
                _check_type(f"{self.path.name}: {name}", declared.type, value)
                self.outputs[declared.name] = value
        return self

    def of_type(self, kind: str) -> list[Deployed]:
        """Resources of a type that Azure is asked for, without those that are only referred to."""
        return [one for one in self.resources if one.type == kind and not one.existing]

    def one(self, kind: str) -> Deployed:
        found = self.of_type(kind)
        if len(found) != 1:
            raise DeploymentError(f"{len(found)} resources of type {kind}")
        return found[0]

    # -- declarations

    def _value(self, name: str, line: int = 0) -> Any:
        if name not in self._declared:
            raise DeploymentError(f"{self.path.name}, line {line}: {name} is not declared")
        declared = self._declared[name]
        if declared.kind == "var":  # each time: whether it may use what is known later depends on who asks
            return self._plain(declared)
        if name not in self._values:
            self._values[name] = getattr(self, f"_{declared.kind}", self._plain)(declared)
        return self._values[name]

    def _plain(self, declared: Declaration) -> Any:
        assert declared.value is not None
        return self._evaluate(declared.value, {})

    def _param(self, declared: Declaration) -> Any:
        if declared.name in self.params:
            value = self.params[declared.name]
        elif declared.value is not None:
            value = self._evaluate(declared.value, {})
        else:
            raise DeploymentError(f"{self.path.name}: param {declared.name} is not given")
        where = f"{self.path.name}: param {declared.name}"
        _check_type(where, declared.type, value)
        limits = {name: self._evaluate(given[0], {}) for name, given in declared.decorators.items() if given}
        size = len(value) if isinstance(value, str) else value
        if (
            ("allowed" in limits and value not in limits["allowed"])
            or ("minLength" in limits and size < limits["minLength"])
            or ("maxLength" in limits and size > limits["maxLength"])
            or ("minValue" in limits and size < limits["minValue"])
            or ("maxValue" in limits and size > limits["maxValue"])
        ):
            raise DeploymentError(f"{where}: {value!r} is not allowed")
        return value

    def _resource(self, declared: Declaration) -> Any:
        return self._each(declared, self._make_resource)

    def _module(self, declared: Declaration) -> Any:
        return self._each(declared, self._make_module)

    def _each(self, declared: Declaration, make: Callable[[Declaration, dict[str, Any]], Any]) -> Any:
        if declared.condition is not None and not self._known_before_start(declared.condition, {}):
            return None
        if declared.loop is None:
            return make(declared, {})
        item, index, over = declared.loop
        values = self._known_before_start(over, {})
        return [make(declared, _names(item, index, value, at)) for at, value in enumerate(values)]

    def _make_resource(self, declared: Declaration, local: dict[str, Any]) -> Deployed:
        assert declared.value is not None
        body = dict(declared.value[1])
        own = {key[1]: value for key, value in body.items()}
        name = self._known_before_start(own.pop("name"), local)
        parent = self._evaluate(own.pop("parent"), local) if "parent" in own else None
        scope = self._evaluate(own.pop("scope"), local) if "scope" in own else None
        for one in self._listed(own.pop("dependsOn", ("array", [])), local):
            if not isinstance(one, Deployed | Deployment | list | None):
                raise DeploymentError(f"{self.path.name}: {declared.name} depends on what is no resource")
        if parent is not None:
            identity = f"{parent.id}/{declared.type.rsplit('/', 1)[1]}/{name}"
        else:
            within = scope.id if isinstance(scope, Deployed) else self.scope
            identity = f"{within}/providers/{declared.type}/{name}"
            if declared.type == "Microsoft.Resources/resourceGroups":
                identity = f"{self.scope}/resourceGroups/{name}"
        values = {key: self._evaluate(value, local) for key, value in own.items()}
        if not isinstance(name, str) or not name:
            raise DeploymentError(f"{self.path.name}: {declared.name} has no name")
        body = {"scope": scope.id, **values} if isinstance(scope, Deployed) else values
        made = Deployed(
            self.path.name, declared.name, declared.type, declared.version, name, body, identity, declared.existing
        )
        self.resources.append(made)
        return made

    def _make_module(self, declared: Declaration, local: dict[str, Any]) -> Deployment:
        assert declared.value is not None
        own = {key[1]: value for key, value in declared.value[1]}
        self._known_before_start(own["name"], local)
        scope = self._known_before_start(own["scope"], local) if "scope" in own else self.scope
        self._listed(own.get("dependsOn", ("array", [])), local)
        params = self._evaluate(own.get("params", ("object", [])), local)
        within = scope.id if isinstance(scope, Deployed) else scope
        module = Deployment((self.path.parent / declared.type).resolve(), params, within).run()
        self.resources += module.resources
        return module

    def _listed(self, expression: Expression, local: dict[str, Any]) -> list[Any]:
        found = self._evaluate(expression, local)
        assert isinstance(found, list)
        return found

    # -- expressions

    def _known_before_start(self, expression: Expression, local: dict[str, Any]) -> Any:
        self._before_start += 1
        try:
            return self._evaluate(expression, local)
        finally:
            self._before_start -= 1

    def _evaluate(self, expression: Expression, local: dict[str, Any]) -> Any:
        return getattr(self, "_on_" + expression[0].replace(" ", "_"))(expression, local)

    def _on_value(self, expression: Expression, _: dict[str, Any]) -> Any:
        return expression[1]

    def _on_string(self, expression: Expression, local: dict[str, Any]) -> str:
        text = ""
        for part in expression[1:]:
            value = part if isinstance(part, str) else self._evaluate(part, local)
            if not isinstance(value, str | int):
                raise DeploymentError(f"{self.path.name}: {value!r} is put into a string")
            text += str(value)
        return text

    def _on_name(self, expression: Expression, local: dict[str, Any]) -> Any:
        return local[expression[1]] if expression[1] in local else self._value(expression[1], expression[2])

    def _on_array(self, expression: Expression, local: dict[str, Any]) -> list[Any]:
        return [self._evaluate(item, local) for item in expression[1]]

    def _on_object(self, expression: Expression, local: dict[str, Any]) -> dict[str, Any]:
        return {self._on_string(key, local): self._evaluate(value, local) for key, value in expression[1]}

    def _on_for(self, expression: Expression, local: dict[str, Any]) -> list[Any]:
        _, item, index, over, body = expression
        values = self._known_before_start(over, local)
        locals_ = [local | _names(item, index, value, at) for at, value in enumerate(values)]
        return [self._known_before_start(body, each) for each in locals_]

    def _on_if(self, expression: Expression, local: dict[str, Any]) -> Any:
        _, asked, then, other = expression
        answer = self._evaluate(asked, local)
        if not isinstance(answer, bool):
            raise DeploymentError(f"{self.path.name}: {answer!r} is asked as if it were true or false")
        return self._evaluate(then if answer else other, local)

    def _on_unary(self, expression: Expression, local: dict[str, Any]) -> Any:
        value = self._evaluate(expression[2], local)
        return not value if expression[1] == "!" else -value

    def _on_operator(self, expression: Expression, local: dict[str, Any]) -> Any:
        _, operator, left_side, right_side = expression
        left = self._evaluate(left_side, local)
        if operator == "??":
            return self._evaluate(right_side, local) if left is None else left
        if operator in ("&&", "||"):
            return self._evaluate(right_side, local) if left == (operator == "&&") else left
        right = self._evaluate(right_side, local)
        if operator not in ("==", "!=") and not isinstance(left, int) | isinstance(right, int):
            raise DeploymentError(f"{self.path.name}: {left!r} {operator} {right!r}")
        return _OPERATORS[operator](left, right)

    def _on_item(self, expression: Expression, local: dict[str, Any]) -> Any:
        holder, key = self._evaluate(expression[1], local), self._evaluate(expression[2], local)
        try:
            return holder[key]
        except (LookupError, TypeError):
            raise DeploymentError(f"{self.path.name}: there is no [{key!r}]") from None

    def _on_item_or_null(self, expression: Expression, local: dict[str, Any]) -> Any:
        return self._evaluate(expression[1], local).get(self._evaluate(expression[2], local))

    def _on_not_null(self, expression: Expression, local: dict[str, Any]) -> Any:
        return self._evaluate(expression[1], local)

    def _on_member(self, expression: Expression, local: dict[str, Any]) -> Any:
        holder, name = self._evaluate(expression[1], local), expression[2]
        where = f"{self.path.name}: .{name}"
        if isinstance(holder, Deployment):
            if self._before_start:
                raise DeploymentError(f"{where}: what a module says is not known before the start")
            if name != "outputs":
                raise DeploymentError(f"{where}: a module has outputs only")
            return holder.outputs
        if isinstance(holder, Deployed):
            if name in ("id", "name"):
                return getattr(holder, name)
            if self._before_start:
                raise DeploymentError(f"{where} of {holder.symbol} is not known before the start")
            later = _later(holder).get(name)
            if later is None:
                raise DeploymentError(f"{where} of {holder.symbol} is not known here")
            return later
        if not isinstance(holder, dict) or name not in holder:
            raise DeploymentError(f"{where} is not there")
        return holder[name]

    def _on_call(self, expression: Expression, local: dict[str, Any]) -> Any:
        _, name, given = expression
        arguments = [self._evaluate(argument, local) for argument in given]
        if name in ("loadTextContent", "loadJsonContent"):
            text = (self.path.parent / arguments[0]).read_text()
            return text if name == "loadTextContent" else json.loads(text)
        if name == "resourceGroup":
            if arguments:
                return f"/subscriptions/{arguments[0]}/resourceGroups/{arguments[1]}"
            return {"id": self.scope, "name": self.scope.rsplit("/", 1)[1], "location": "westeurope"}
        if name == "resourceId":
            return f"{self.scope}/providers/{arguments[0]}/{arguments[1]}"
        if name not in _FUNCTIONS:
            raise DeploymentError(f"{self.path.name}: function {name} is not known here")
        return _FUNCTIONS[name](*arguments)


def _names(item: str, index: str | None, value: Any, at: int) -> dict[str, Any]:
    return {item: value} | ({index: at} if index else {})


def _check_type(where: str, wanted: str, value: Any) -> None:
    if not isinstance(value, _TYPES[wanted]) or (wanted == "int" and isinstance(value, bool)):
        raise DeploymentError(f"{where} is {value!r} and no {wanted}")


def _hash(length: int) -> Callable[..., str]:
    def hashed(*texts: str) -> str:
        digest = hashlib.sha256("\n".join(texts).encode()).digest()
        return base64.b32encode(digest).decode().lower()[:length]

    return hashed


def _union(*objects: dict[str, Any]) -> dict[str, Any]:
    return {name: value for one in objects for name, value in one.items()}


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left // right,
    "%": lambda left, right: left % right,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": lambda *lists: [item for one in lists for item in one],
    "empty": lambda value: not value,
    "environment": lambda: {
        "suffixes": {"storage": "core.windows.net"},
        "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
    },
    "guid": _hash(36),
    "length": len,
    "listKeys": lambda _id, _version: {"systemKeys": {"blobs_extension": TRIGGER_KEY}},
    "max": max,
    "replace": lambda text, old, new: text.replace(old, new),
    "split": lambda text, by: text.split(by),
    "string": lambda value: value if isinstance(value, str) else json.dumps(value),
    "subscription": lambda: {
        "id": f"/subscriptions/{SUBSCRIPTION}",
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
    },
    "subscriptionResourceId": lambda kind, name: f"/subscriptions/{SUBSCRIPTION}/providers/{kind}/{name}",
    "toLower": str.lower,
    "union": _union,
    "uniqueString": _hash(13),
}
