"""Families of named variants with parameters, such as the strategies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.errors import did_you_mean
from bench.suites.choice import Choice
from bench.suites.kinds import Kind, Mismatch
from bench.suites.wording import enumerated, shown


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()
"""The default of a parameter that has none."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a variant."""

    name: str
    kind: Kind
    default: Any = REQUIRED
    doc: str = ""
    only: tuple[str, str] | None = None
    """(parameter, value): it belongs to that value of an earlier parameter and is absent else."""

    def schema(self) -> dict[str, Any]:
        """The parameter as JSON Schema."""
        known = {} if self.default is REQUIRED else {"default": self.default}
        return {"description": self.doc} | self.kind.schema() | known


@dataclass(frozen=True, slots=True, init=False)
class Variant:
    """One name of a family, what it is, and its parameters in the order they are written."""

    name: str
    doc: str
    parameters: tuple[Parameter, ...]

    def __init__(self, name: str, doc: str, *parameters: Parameter) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "doc", doc)
        object.__setattr__(self, "parameters", parameters)

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name."""
        return next((p for p in self.parameters if p.name == name), None)

    def choice(self, given: dict[str, Any]) -> Choice:
        """The variant with those parameters and every other default filled in; raises Mismatch."""
        self.check_names(given)
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            name = parameter.name
            if parameter.only is not None and values[parameter.only[0]] != parameter.only[1]:
                if name in given:
                    raise self._misplaced(parameter, values)
                continue
            if name in given:
                try:
                    values[name] = parameter.kind.read(given[name])
                except Mismatch as bad:
                    raise bad.under(name) from None
            elif parameter.default is REQUIRED:
                raise Mismatch(
                    what=f"{self.name} needs its parameter '{name}'",
                    expected=f"{{name: {self.name}, {name}: {parameter.kind.words()}}}",
                )
            else:
                values[name] = parameter.default
        return Choice(self.name, tuple(sorted(values.items())))

    def check_names(self, given: Iterable[str]) -> None:
        """Raises Mismatch at the first name that is no parameter's."""
        known = [p.name for p in self.parameters]
        for name in given:
            if name not in known:
                raise Mismatch(
                    what=f"{self.name} has no parameter '{name}'",
                    expected=enumerated(known) if known else f"no parameter: '{self.name}' alone",
                    mend=did_you_mean(name, known) or f"leave '{name}' out",
                    path=(name,),
                    on_key=True,
                )

    def _misplaced(self, parameter: Parameter, values: dict[str, Any]) -> Mismatch:
        assert parameter.only is not None
        key, value = parameter.only
        return Mismatch(
            what=f"'{parameter.name}' has no meaning with {key} '{values[key]}'",
            expected=f"'{parameter.name}' only where {key} is '{value}'",
            mend=f"leave it out, or write '{key}: {value}'",
            path=(parameter.name,),
            on_key=True,
        )

    def schema(self) -> dict[str, Any]:
        """The variant written as a mapping."""
        required = [p.name for p in self.parameters if p.default is REQUIRED and p.only is None]
        properties = {p.name: p.schema() for p in self.parameters}
        return {
            "type": "object",
            "description": self.doc,
            "properties": {"name": {"const": self.name}} | properties,
            "required": ["name", *required],
            "additionalProperties": False,
        }

    def stands_alone(self) -> bool:
        """Whether the name suffices."""
        return all(p.default is not REQUIRED or p.only is not None for p in self.parameters)


@dataclass(frozen=True, slots=True)
class Family:
    """A noun and its variants; the kind of a value written ``name`` or ``{name: …, …}``."""

    noun: str
    variants: tuple[Variant, ...]
    by_name: dict[str, Variant] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {v.name: v for v in self.variants})

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in the order declared."""
        return tuple(self.by_name)

    def read(self, value: Any) -> Choice:
        """``fedprox`` or ``{name: fedprox, mu: 0.1}`` with defaults filled in; raises Mismatch."""
        variant, given = self.named(value)
        return variant.choice(given)

    def named(self, value: Any) -> tuple[Variant, dict[str, Any]]:
        """The variant that the value names, and its parameters as written; raises Mismatch."""
        given = self.written_out(value)
        name = given.pop("name", None)
        if name is None:
            raise Mismatch(
                what=f"the {self.noun} has no name",
                expected=f"{{name: {enumerated(self.names)}, …}}",
            )
        variant = self.by_name.get(name) if isinstance(name, str) else None
        if variant is None:
            raise Mismatch(
                what=f"unknown {self.noun} {shown(name)}",
                expected=enumerated(self.names),
                mend=did_you_mean(name, self.names) if isinstance(name, str) else None,
                path=("name",) if isinstance(value, dict) else (),
            )
        return variant, given

    def without_defaults(self, choice: Choice) -> dict[str, Any]:
        """The choice as written with only what differs from the defaults."""
        variant = self.by_name.get(choice.name)
        defaults = {p.name: p.default for p in variant.parameters} if variant else {}
        row = choice.row()
        return {k: v for k, v in row.items() if k == "name" or v != defaults.get(k, REQUIRED)}

    def written_out(self, value: Any) -> dict[str, Any]:
        """The value as a mapping of its own, whichever way it is written."""
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict):
            return dict(value)
        raise Mismatch(expected=self.words(), found=shown(value))

    def words(self) -> str:
        return f"the name of a {self.noun}, or {{name: …}} with its parameters"

    def schema(self) -> dict[str, Any]:
        alone = [v.name for v in self.variants if v.stands_alone()]
        return {"anyOf": [{"enum": alone}, *(v.schema() for v in self.variants)]}

    def parts(self) -> dict[str, dict[str, Any]]:
        """Every parameter by name with its schema, whichever variant it belongs to."""
        found: dict[str, list[dict[str, Any]]] = {}
        for variant in self.variants:
            for parameter in variant.parameters:
                schema = parameter.kind.schema()
                if schema not in found.setdefault(parameter.name, []):
                    found[parameter.name].append(schema)
        return {
            name: schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
            for name, schemas in found.items()
        }

    def patched(self, value: Any, part: str, new: Any) -> dict[str, Any]:
        """The value as written, with one parameter replaced."""
        return {**self.written_out(value), part: new}
