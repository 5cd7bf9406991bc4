"""Find the classes in a query that do not exist in iTop, and suggest similar names."""

from collections.abc import Iterable

from intercom_bridge.models import ItopInstance
from itop_client import OqlError, UnknownClassError, parse

from .profile_check import did_you_mean

# Classes of every iTop that are often queried. The data model's file does not contain the classes of accounts.
_COMMON_CLASSES = frozenset(
    {
        "Contact",
        "Contract",
        "CustomerContract",
        "FunctionalCI",
        "Incident",
        "Location",
        "Organization",
        "Person",
        "Service",
        "ServiceFamily",
        "ServiceSubcategory",
        "Team",
        "Ticket",
        "User",
        "UserExternal",
        "UserInternal",
        "UserLDAP",
        "UserLocal",
        "UserRequest",
        "UserToken",
    }
)


def describe_unknown_classes(itop: ItopInstance, query: str) -> list[str]:
    """Return a sentence for each class that the query selects although the imported data model does not have it.

    Return [] if the query is invalid, or if no data model was imported.
    """
    if not itop.class_names:
        return []
    try:
        selected = dict.fromkeys(select.class_name for select in parse(query).selects)
    except OqlError:
        return []
    known = _COMMON_CLASSES.union(itop.class_names)
    return [_unknown_class_sentence(name, known) for name in selected if name not in known]


def describe_unknown_class(itop: ItopInstance, error: UnknownClassError) -> str:
    """Return a sentence that suggests names similar to the unknown class, or the error's text if it names no class."""
    if not error.class_name:
        return str(error)
    known = _COMMON_CLASSES.union(itop.class_names, error.known)
    return _unknown_class_sentence(error.class_name, known)


def _unknown_class_sentence(name: str, known: Iterable[str]) -> str:
    return f"iTop knows no class {name}.{did_you_mean(name, sorted(known))}"
