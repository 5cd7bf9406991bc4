"""Look up a ticket class: from the iTop's imported data model, or else the built-in one."""

from collections.abc import Mapping

from django.utils.translation import get_language

from intercom_bridge.models import ImportedClass, ItopInstance

from .attribute import TicketClass
from .builtin import BUILTIN_CLASSES
from .builtin_labels import ATTRIBUTES, VALUES
from .serialization import from_json


def ticket_class_of(itop: ItopInstance, name: str) -> TicketClass:
    """Return the class of this iTop's imported data model, or else the built-in class. Takes one database query.

    If there is neither, return a class without attributes: which codes are valid is then unknown, so accept any.
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
    """Return the attribute's label in the current language.

    The label is the imported one, or else that of a standard iTop, or else it is made from the code.
    """
    attribute = ticket_class.attributes.get(code)
    imported = _in_current_language(attribute.labels) if attribute else ""
    label = imported or str(ATTRIBUTES.get(code, ""))
    return label or code.removesuffix("_id").replace("_", " ").capitalize()


def value_label(ticket_class: TicketClass, code: str, value: str) -> str:
    """Return the label of an attribute's value in the current language. Return a value without a label unchanged."""
    attribute = ticket_class.attributes.get(code)
    enum_values = attribute.values if attribute else ()
    imported_labels = (_in_current_language(known.labels) for known in enum_values if known.code == value)
    return next(imported_labels, "") or str(VALUES.get(code, {}).get(value, value))


def _in_current_language(labels: Mapping[str, str]) -> str:
    """Return the label in the current language, or else in English, or else "".

    For a language like en-gb, a label in en or in another variant of en is the second choice.
    """
    for language in (get_language() or "en", "en"):
        base = language.partition("-")[0]
        variants = [name for name in labels if name.startswith(f"{base}-")]
        for name in (language, base, *variants):
            if label := labels.get(name):
                return label
    return ""
