"""A ticket class as JSON, the format of `ImportedClass.definition`. Fields with their default value are omitted."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from .attribute import Attribute, Kind, TicketClass, Value


def to_json(ticket_class: TicketClass) -> dict[str, Any]:
    """Return the class as a JSON object; `from_json` restores it."""
    attributes = [_fields_to_json(attribute) for attribute in ticket_class.attributes.values()]
    return {**_fields_to_json(ticket_class), "attributes": attributes}


def from_json(data: Mapping[str, Any]) -> TicketClass:
    """Return the class that `to_json` serialized. Raise KeyError, TypeError or ValueError for other data."""
    attributes = [_attribute(item) for item in data["attributes"]]
    return TicketClass(
        name=data["name"],
        attributes={attribute.code: attribute for attribute in attributes},
        details=tuple(data.get("details", ())),
        labels=data.get("labels", {}),
    )


def _attribute(data: Mapping[str, Any]) -> Attribute:
    converted = {
        "kind": Kind(data["kind"]),
        "values": tuple(Value(**value) for value in data.get("values", ())),
        "depends_on": tuple(data.get("depends_on", ())),
    }
    return Attribute(**{**data, **converted})


def _fields_to_json(instance: Any) -> dict[str, Any]:
    """Return the fields of the dataclass whose values differ from their defaults."""
    data: dict[str, Any] = {}
    for field in fields(instance):
        value = getattr(instance, field.name)
        if value != _default(field):
            data[field.name] = _value_to_json(value)
    return data


def _value_to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_value_to_json(member) for member in value]
    if isinstance(value, Value):
        return _fields_to_json(value)
    return value.value if isinstance(value, Kind) else value


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default
