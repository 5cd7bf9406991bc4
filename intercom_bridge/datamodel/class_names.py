"""The names of an iTop's classes: find unknown ones in a query, and suggest similar ones."""

from collections.abc import Iterable

from intercom_bridge.models import ItopInstance
from itop_client import OqlError, UnknownClassError, parse

from .profile_check import did_you_mean

# Classes of every iTop that queries name. Those of accounts are not in the data model's file.
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


def unknown_classes(itop: ItopInstance, query: str) -> list[str]:
    """Return a sentence for each class that the query selects and the imported data model does not have.

    Return [] for an invalid query, and without an imported data model.
    """
    known = _COMMON_CLASSES.union(itop.class_names)
    try:
        names = dict.fromkeys(select.class_name for select in parse(query).selects)
    except OqlError:
        return []
    return [_sentence(name, known) for name in names if itop.class_names and name not in known]


def describe_unknown_class(itop: ItopInstance, error: UnknownClassError) -> str:
    """Return a sentence about the class that iTop does not know, with similar names."""
    if not error.class_name:
        return str(error)
    return _sentence(error.class_name, _COMMON_CLASSES.union(itop.class_names, error.known))


def _sentence(name: str, known: Iterable[str]) -> str:
    return f"iTop knows no class {name}.{did_you_mean(name, sorted(known))}"
