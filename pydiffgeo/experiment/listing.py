"""All keys of the settings: as a list for readers, and as JSON Schema for editors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from pydiffgeo.experiment.schema import FAMILIES, run_class
from pydiffgeo.experiment.signatures import Section, section_of
from pydiffgeo.settings import Settings

RUNS = "Changes of the sections above"


def listing() -> Iterator[str]:
    """Give lines that show every key with its meaning and default."""
    settings = run_class()
    for name, field in settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from ("", f"{name}: {_sentence(annotation.__doc__)}")
            yield from _keys(annotation, "  ")
        else:
            yield from ("", f"{name}  {_default(field)}  {field.description}")
    yield from ("", f"runs: {RUNS}, by name of the run; none: one run of them.")
    for name, family in FAMILIES.items():
        yield from ("", f"Each {name} is one of these:")
        for kind, made in family.kinds.items():
            model = section_of(made, FAMILIES, kind)
            yield f"  {kind}: {_sentence(made.__doc__)}"
            yield from _keys(model, "    ")


def _keys(model: type[BaseModel], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        yield f"{indent}{name}  {_default(field)}  {_sentence(field.description)}".rstrip()
        own = field.annotation
        if isinstance(own, type) and issubclass(own, Settings) and not issubclass(own, Section):
            yield from _keys(own, indent + "  ")


def _default(field: Any) -> str:
    if field.is_required():
        return "(required)"
    default = field.get_default(call_default_factory=True)
    return "" if isinstance(default, BaseModel) else f"[{default}]"


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an experiment's file, for editors."""
    schema = run_class().model_json_schema()
    parts = schema["properties"]
    changes = {name: _optional(part, schema["$defs"]) for name, part in parts.items()}
    run = {"type": ["object", "null"], "properties": changes, "additionalProperties": False}
    told = f"{RUNS}, by name of the run."
    parts["runs"] = {"description": told, "type": "object", "additionalProperties": run}
    demo = "What `pydiffgeo demo` changes: sections, and runs with their changes."
    parts["demo"] = {"description": demo, "type": "object"}
    # what runs may give is not required above
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "required": []}


def _optional(part: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a section of which a run gives a part."""
    name = str(part.get("$ref", "")).rpartition("/")[2]
    return {k: v for k, v in (known[name] if name else part).items() if k != "required"}
