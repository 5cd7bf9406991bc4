"""Query tickets. The profile may name attributes that iTop's data model lacks, so these are optional."""

from collections.abc import Set

from intercom_bridge.models import CachedAnswer
from itop_client import Found, UnknownAttributeError

from .context import PanelContext, get_objects

# For how long a missing attribute is not requested again. An admin may add it to iTop's data model in the meantime.
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
    """Return the tickets of the profile's class that meet an OQL condition. Raise ItopError.

    `alias` is the ticket's alias in the condition. If iTop lacks an `optional` attribute, query again without it, and
    do not request it again for CACHE_SECONDS.
    """
    ticket_class = context.profile.ticket_class
    oql = f"SELECT {ticket_class} AS {alias} WHERE {condition}"
    question = f"attributes that {ticket_class} does not have"
    answer = CachedAnswer.objects.fresh(context.itop, question, CACHE_SECONDS)
    missing_codes = frozenset(answer.value if answer else ())
    while True:
        codes = sorted(fields | (optional - missing_codes))
        try:
            return get_objects(context, ticket_class, oql, fields=codes, limit=limit, page=page)
        except UnknownAttributeError as error:
            # Without an external key (agent_id), iTop does not have its name (agent_id_friendlyname) either.
            attribute = error.attribute.removesuffix("_friendlyname")
            newly_missing = {
                code for code in optional - missing_codes if code.removesuffix("_friendlyname") == attribute
            }
            if not newly_missing:
                raise
            missing_codes |= newly_missing
            CachedAnswer.objects.store(context.itop, question, sorted(missing_codes))
