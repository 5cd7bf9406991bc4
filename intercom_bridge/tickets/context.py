"""The data of one panel request. Functions of `tickets` and `panel` take it first."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from intercom_bridge.connections import itop_client
from intercom_bridge.datamodel import TicketClass
from intercom_bridge.datamodel.lookup import ticket_class_of
from intercom_bridge.intercom.payloads import CanvasRequest
from intercom_bridge.models import ItopInstance, TicketProfile, Workspace
from itop_client import Deadline, Found, UnknownAttributeError


@dataclass(frozen=True, kw_only=True)
class PanelContext:
    """One request of the panel in one workspace.

    deadline: when the response has to be ready. Every call to iTop or Intercom has to end before.
    memo: results that are needed several times in the request, keyed for example by the name of their function.
    """

    workspace: Workspace
    request: CanvasRequest
    deadline: Deadline
    memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def itop(self) -> ItopInstance:
        return self.workspace.itop

    @property
    def profile(self) -> TicketProfile:
        return self.workspace.profile

    @cached_property
    def ticket_class(self) -> TicketClass:
        """The data model of the profile's class."""
        return ticket_class_of(self.itop, self.profile.ticket_class)


def get_objects(  # noqa: PLR0913 - the arguments of core/get
    context: PanelContext,
    class_name: str,
    oql: str,
    *,
    fields: Iterable[str],
    optional: Collection[str] = (),
    limit: int | None = None,
    page: int = 1,
) -> Found:
    """Query iTop within the request's deadline. If iTop lacks one of the `optional` attributes, query again without it.

    Raise ItopError, or SecretDecryptionError if the token of the bridge's account in iTop cannot be decrypted.
    """
    codes = tuple(dict.fromkeys((*fields, *optional)))
    client, seconds = itop_client(context.itop), context.deadline.remaining()
    try:
        return client.get(class_name, oql, fields=codes, limit=limit, page=page, deadline=seconds)
    except UnknownAttributeError as error:
        if error.attribute not in optional:
            raise
        others = [code for code in optional if code != error.attribute]
        return get_objects(context, class_name, oql, fields=fields, optional=others, limit=limit, page=page)
