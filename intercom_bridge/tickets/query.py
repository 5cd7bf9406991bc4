"""Query tickets with attributes that a ticket profile names, and that iTop's data model may lack."""

from collections.abc import Set

from intercom_bridge.models import CachedAnswer
from itop_client import Found, UnknownAttributeError

from .context import PanelContext, get_objects

# An admin may add the attribute to the data model, or correct the profile.
CACHE_SECONDS = 600.0


def get_tickets_by(  # noqa: PLR0913 - the arguments of core/get
    context: PanelContext,
    condition: str,
    *,
    alias: str = "t",
    fields: Set[str],
    optional: Set[str] = frozenset(),
    limit: int | None = None,
    page: int = 1,
) -> Found:
    """Return the tickets of the profile's class that meet a condition.

    If iTop lacks an `optional` field, query again without it, and do not request it for a while. Raise ItopError.
    """
    ticket_class = context.profile.ticket_class
    oql = f"SELECT {ticket_class} AS {alias} WHERE {condition}"
    question = f"attributes that {ticket_class} does not have"
    answer = CachedAnswer.objects.fresh(context.itop, question, CACHE_SECONDS)
    known = frozenset(answer.value if answer else ())
    while True:
        codes = sorted(fields | (optional - known))
        try:
            return get_objects(context, ticket_class, oql, fields=codes, limit=limit, page=page)
        except UnknownAttributeError as error:
            # Reading the name of an external key needs the key.
            attribute = error.attribute.removesuffix("_friendlyname")
            unknown = {code for code in optional - known if code.removesuffix("_friendlyname") == attribute}
            if not unknown:
                raise
            known |= unknown
            CachedAnswer.objects.store(context.itop, question, sorted(known))
