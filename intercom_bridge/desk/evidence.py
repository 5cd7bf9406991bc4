"""What an Intercom contact says of who it is in iTop."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from intercom_bridge.intercom.payloads import Contact
from intercom_bridge.models import PersonMatch, Workspace
from itop_client import ItopObject, quote

_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
How = PersonMatch.How


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """An id of iTop's in the custom attributes, an id of the customer's own, an address: whatever there is."""

    person_id: int
    person_class: str
    external_attribute: str
    external_id: str
    email: str

    @classmethod
    def of(cls, contact: Contact, workspace: Workspace) -> Evidence:
        stated_class = str(contact.custom_attributes.get("itop_contact_class") or "Person")
        stated_id = positive(contact.custom_attributes.get("itop_contact_id"))
        external_id = contact.external_id.strip() if workspace.external_id_attribute else ""
        if workspace.external_id_attribute == "id" and not positive(external_id):
            external_id = ""
        return cls(
            person_id=stated_id if _CLASS.fullmatch(stated_class) else 0,
            person_class="" if stated_class in ("Person", "Contact") else stated_class,
            external_attribute=workspace.external_id_attribute if external_id else "",
            external_id=external_id,
            email=contact.email.strip(),
        )

    def __str__(self) -> str:
        """To compare: a match is void once any of it is another."""
        parts = (
            self.person_class,
            self.person_id or "",
            f"{self.external_attribute}={self.external_id}" if self.external_id else "",
            self.email.casefold(),
        )
        return "|".join(str(part)[:140] for part in parts)

    def conditions(self, alias: str) -> list[str]:
        """Any of them finds a person."""
        found = [f"{alias}.id = {self.person_id}"] if self.person_id else []
        if self.external_attribute == "id":
            found.append(f"{alias}.id = {positive(self.external_id)}")
        elif self.external_id:
            found.append(f"{alias}.{self.external_attribute} = {quote(self.external_id)}")
        return found + self.email_conditions(alias)

    def email_conditions(self, alias: str) -> list[str]:
        addresses = [self.email, without_tag(self.email)]
        return [f"{alias}.email = {quote(address)}" for address in addresses if address]

    def findings(self, found: Iterable[ItopObject]) -> list[tuple[How, set[int]]]:
        """Whom each kind of evidence points to among those found, the strongest kind first."""
        people = list(found)
        of_class = {one.id for one in people if self.person_class in ("", one.class_name)}
        kinds = [
            (How.ATTRIBUTES, {self.person_id} & of_class),
            (How.EXTERNAL_ID, {one.id for one in people if self._has_external_id(one)}),
            (How.EMAIL, _with_email(people, self.email) or _with_email(people, without_tag(self.email))),
        ]
        return [(how, ids) for how, ids in kinds if ids]

    def _has_external_id(self, person: ItopObject) -> bool:
        if self.external_attribute == "id":
            return person.id == positive(self.external_id)
        # iTop compares as its database's collation does, where é equals e and A equals a.
        return bool(self.external_id) and person.text(self.external_attribute).strip() == self.external_id


def _with_email(people: Iterable[ItopObject], email: str) -> set[int]:
    """Meant to the letter, where iTop's collation takes é for e."""
    wanted = email.casefold()
    return {one.id for one in people if wanted and one.text("email").strip().casefold() == wanted}


def without_tag(email: str) -> str:
    """jo@x.example for jo+support@x.example, which is delivered to the same box; "" where there is no tag."""
    local, at, host = email.rpartition("@")
    box, plus, _tag = local.partition("+")
    return f"{box}@{host}" if at and plus and box and not box.startswith('"') else ""


def positive(value: object) -> int:
    """The number that an id is, 0 for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
