"""The data of an Intercom contact that identifies a Person in iTop."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from intercom_bridge.intercom.payloads import Contact
from intercom_bridge.models import PersonMatch, Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from itop_client import ItopObject, quote

# Four parts of this length, and the id that was signed, fit into PersonMatch.evidence.
MAX_PART_LENGTH: Final = 140
_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
How = PersonMatch.How


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a contact's data say about who the contact is. A missing id is 0, a missing text is "".

    signed_id: the Person who is logged in to iTop. Our extension for iTop signs this id, so it cannot be forged.
    person_id, person_class: the contact's custom attributes. The class is "" if any class of persons is accepted.
    external_id: the contact's external id. `external_attribute` is the attribute of a Person that contains it.
    """

    signed_id: int
    person_id: int
    person_class: str
    external_attribute: str
    external_id: str
    email: str

    @classmethod
    def of(cls, contact: Contact, workspace: Workspace) -> Evidence:
        stated_class = str(contact.custom_attributes.get("itop_contact_class") or "Person")
        stated_id = parse_id(contact.custom_attributes.get("itop_contact_id"))
        signed_id = _signed_id(contact, workspace)
        external_id = contact.external_id.strip()
        is_unusable = workspace.external_id_attribute == "id" and not parse_id(external_id)
        # A signed id is in the contact's external id, which then has no other meaning.
        if signed_id or not workspace.external_id_attribute or is_unusable:
            external_id = ""
        return cls(
            signed_id=signed_id,
            person_id=stated_id if _CLASS.fullmatch(stated_class) else 0,
            person_class="" if stated_class in ("Person", "Contact") else stated_class,
            external_attribute=workspace.external_id_attribute if external_id else "",
            external_id=external_id,
            email=contact.email.strip(),
        )

    def __str__(self) -> str:
        """Return a fingerprint. A stored match is valid only as long as the contact's fingerprint is the same."""
        parts = (
            self.person_class,
            self.person_id or "",
            f"{self.external_attribute}={self.external_id}" if self.external_id else "",
            self.email.casefold(),
        )
        fingerprint = "|".join(str(part)[:MAX_PART_LENGTH] for part in parts)
        return f"{fingerprint}|itop={self.signed_id}" if self.signed_id else fingerprint

    def conditions(self, alias: str) -> list[str]:
        """Return OQL conditions on a Person with this alias. A person who meets any of them is a candidate."""
        if self.signed_id:
            # The other data can be forged, so they are ignored.
            return [f"{alias}.id = {self.signed_id}"]
        conditions = [f"{alias}.id = {self.person_id}"] if self.person_id else []
        if self.external_attribute == "id":
            conditions.append(f"{alias}.id = {parse_id(self.external_id)}")
        elif self.external_id:
            conditions.append(f"{alias}.{self.external_attribute} = {quote(self.external_id)}")
        return conditions + self.email_conditions(alias)

    def email_conditions(self, alias: str) -> list[str]:
        addresses = [self.email, without_tag(self.email)]
        return [f"{alias}.email = {quote(address)}" for address in addresses if address]

    def findings(self, candidates: Iterable[ItopObject]) -> list[tuple[How, set[int]]]:
        """Return which of the candidates each kind of evidence points to, as ids of persons, strongest kind first.

        Omit a kind that points to none.
        """
        people = list(candidates)
        if self.signed_id:
            is_found = any(person.id == self.signed_id for person in people)
            return [(How.ITOP, {self.signed_id})] if is_found else []
        ids_of_class = {person.id for person in people if self.person_class in ("", person.class_name)}
        ids_by_kind = [
            (How.ATTRIBUTES, {self.person_id} & ids_of_class),
            (How.EXTERNAL_ID, {person.id for person in people if self._has_external_id(person)}),
            # The address without its tag counts only if nobody has the complete address.
            (How.EMAIL, _with_email(people, self.email) or _with_email(people, without_tag(self.email))),
        ]
        return [(how, ids) for how, ids in ids_by_kind if ids]

    def _has_external_id(self, person: ItopObject) -> bool:
        if self.external_attribute == "id":
            return person.id == parse_id(self.external_id)
        # iTop has compared by its database's collation, in which é equals e and A equals a. This has to be exact.
        return bool(self.external_id) and person.text(self.external_attribute).strip() == self.external_id


def describe_evidence(fingerprint: str) -> list[str]:
    """Return a short text about each part of a fingerprint, which is the `str` of an Evidence."""
    if fingerprint.count("|") < 3:
        # It is not in the current format, so it is shown as it is.
        return [fingerprint] if fingerprint else []
    person_class, person_id, external, email = fingerprint.split("|", 3)
    email, _, signed_id = email.partition("|itop=")
    attribute, _, value = external.partition("=")
    texts = (
        f"Person {signed_id} signed in to iTop" if signed_id else "",
        f"{person_class or 'Person'} {person_id} in iTop (itop_contact_id)" if person_id else "",
        f"external ID {value} (iTop attribute {attribute})" if value else "",
        f"e-mail address {email}" if email else "",
    )
    return [text for text in texts if text]


def _signed_id(contact: Contact, workspace: Workspace) -> int:
    """Return the Person's id from the contact's user id if our extension for iTop has signed it, otherwise 0."""
    user_id = contact.external_id.strip()
    try:
        return workspace.itop.person_of(user_id) if user_id.startswith("itop-") else 0
    except SecretDecryptionError:
        # Without the secret the signature cannot be verified.
        return 0


def _with_email(people: Iterable[ItopObject], email: str) -> set[int]:
    """Return the ids of the persons with this address, except for case. iTop's collation also finds é for e."""
    wanted = email.casefold()
    if not wanted:
        return set()
    return {person.id for person in people if person.text("email").strip().casefold() == wanted}


def without_tag(email: str) -> str:
    """Return the address of the mailbox: jo@x.example for jo+support@x.example. Return "" for an address without "+".

    A quoted address ("a+b"@x.example) has no tag.
    """
    local, at, host = email.rpartition("@")
    mailbox, plus, _tag = local.partition("+")
    has_tag = bool(at and plus and mailbox) and not mailbox.startswith('"')
    return f"{mailbox}@{host}" if has_tag else ""


def parse_id(value: object) -> int:
    """Return a positive id as a number, or 0 for any other value."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value or "").strip()
    # Numbers of up to 18 digits fit in the database's 64 bits.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
