"""What a field of the create form may point to."""

from __future__ import annotations

from dataclasses import dataclass

from intercom_bridge.deadline import Deadline
from intercom_bridge.models import ItopAnswer, ItopInstance
from itop_client import Client, quote

from .evidence import positive
from .person import Person

REMEMBERED_SECONDS = 300.0
MOST_CHOICES = 500


@dataclass(frozen=True)
class Choice:
    id: str
    label: str


class Choices:
    """Bound to an iTop. One call for each list, then none for five minutes. Raises ItopError."""

    def __init__(self, itop: ItopInstance, client: Client, deadline: Deadline) -> None:
        self._itop = itop
        self._client = client
        self._deadline = deadline

    def services(self, person: Person) -> list[Choice]:
        """The services that the person's organization has contracts for, by name."""
        return self._ask(
            "Service",
            "SELECT Service AS s JOIN lnkCustomerContractToService AS l ON l.service_id = s.id "
            "JOIN CustomerContract AS cc ON l.customercontract_id = cc.id "
            f"WHERE cc.org_id = {person.org_id} AND s.status != 'obsolete'",
        )

    def subcategories(self, service_id: str, request_type: str = "") -> list[Choice]:
        """The subcategories of a service, of the chosen request type if one is chosen."""
        condition = f" AND sc.request_type = {quote(request_type)}" if request_type else ""
        return self._ask(
            "ServiceSubcategory",
            f"SELECT ServiceSubcategory AS sc WHERE sc.service_id = {positive(service_id)} "
            f"AND sc.status != 'obsolete'{condition}",
        )

    def _ask(self, class_name: str, query: str) -> list[Choice]:
        answer = ItopAnswer.objects.fresh(self._itop, query, REMEMBERED_SECONDS)
        if answer is not None:
            return [Choice(*pair) for pair in answer.value]
        found = self._client.get(
            class_name,
            query,
            fields=("id", "friendlyname"),
            limit=MOST_CHOICES,
            deadline=self._deadline.remaining(),
        )
        choices = [Choice(id=str(one.id), label=one.text("friendlyname") or str(one.id)) for one in found]
        choices.sort(key=lambda choice: choice.label.casefold())
        ItopAnswer.objects.keep(self._itop, query, [[choice.id, choice.label] for choice in choices])
        return choices
