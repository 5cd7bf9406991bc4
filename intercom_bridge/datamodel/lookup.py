"""Look up a ticket class: from the iTop's imported data model, or else the built-in one."""

from collections.abc import Mapping

from django.utils.translation import get_language

from intercom_bridge.models import ImportedClass, ItopInstance

from .attribute import TicketClass
from .builtin import BUILTIN_CLASSES
from .builtin_labels import ATTRIBUTES, VALUES
from .serialization import from_json


def ticket_class_of(itop: ItopInstance, name: str) -> TicketClass:
    """Return the imported class, or the built-in one, or a class without attributes.

    Without attributes nothing is known, and any code may be valid. Takes one database query.
    """
    imported = ImportedClass.objects.filter(itop=itop, name=name).first()
    if imported is not None:
        return decode(imported)
    return BUILTIN_CLASSES.get(name) or TicketClass(name=name, attributes={})


def decode(imported: ImportedClass) -> TicketClass:
    """Return the class that was stored by an import."""
    return from_json(imported.definition)


def class_label(ticket_class: TicketClass) -> str:
    """Return the class's label in the current language."""
    return _in_current_language(ticket_class.labels) or ticket_class.name


def attribute_label(ticket_class: TicketClass, code: str) -> str:
    """Return the imported label in the current language, or else a standard iTop's, or one made from the code."""
    attribute = ticket_class.attributes.get(code)
    imported = _in_current_language(attribute.labels) if attribute else ""
    label = imported or str(ATTRIBUTES.get(code, ""))
    return label or code.removesuffix("_id").replace("_", " ").capitalize()


def value_label(ticket_class: TicketClass, code: str, value: str) -> str:
    """Return the label of an enum's value in the current language; any other value unchanged."""
    attribute = ticket_class.attributes.get(code)
    values = attribute.values if attribute else ()
    imported = next((_in_current_language(known.labels) for known in values if known.code == value), "")
    return imported or str(VALUES.get(code, {}).get(value, value))


def _in_current_language(labels: Mapping[str, str]) -> str:
    """Return the label in the current language (of any country), or else in English, or else ""."""
    for language in (get_language() or "en", "en"):
        base = language.partition("-")[0]
        for name in (language, base, *(variant for variant in labels if variant.startswith(f"{base}-"))):
            if label := labels.get(name):
                return label
    return ""
