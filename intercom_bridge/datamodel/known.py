"""What is known of a class of tickets: as imported from the iTop's data model, else as iTop comes."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import get_language

from intercom_bridge import labels as stock_labels
from intercom_bridge.models import ItopInstance, LearnedClass

from .attribute import TicketClass
from .stock import STOCK_CLASSES


def ticket_class_of(itop: ItopInstance, name: str) -> TicketClass:
    """The class as this iTop's data model has it; without one, the stock class; else one without attributes.

    No attributes: nothing is known, and any code may be right. Asks the database once, and iTop never.
    """
    learned = LearnedClass.objects.filter(itop=itop, name=name).first()
    if learned is not None:
        return learned.ticket_class()
    return STOCK_CLASSES.get(name) or TicketClass(name=name, attributes={})


def class_label(ticket_class: TicketClass) -> str:
    """What people call the class, in the current language."""
    return _in_current_language(ticket_class.labels) or ticket_class.name


def attribute_label(ticket_class: TicketClass, code: str) -> str:
    """What people call the attribute, in the current language; its code made readable where nobody has said."""
    attribute = ticket_class.attributes.get(code)
    learned = _in_current_language(attribute.labels) if attribute else ""
    return learned or stock_labels.attribute_label(code)


def value_label(ticket_class: TicketClass, code: str, value: str) -> str:
    """What people call the value of an enum, in the current language; any other value as it is."""
    attribute = ticket_class.attributes.get(code)
    values = attribute.values if attribute else ()
    learned = next((_in_current_language(one.labels) for one in values if one.code == value), "")
    return learned or stock_labels.value_label(code, value)


def _in_current_language(labels: Mapping[str, str]) -> str:
    """The label in the current language, of whichever country, else in English, else ""."""
    for language in (get_language() or "en", "en"):
        base = language.partition("-")[0]
        for name in (language, base, *(one for one in labels if one.startswith(f"{base}-"))):
            if label := labels.get(name):
                return label
    return ""
