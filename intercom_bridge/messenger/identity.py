"""Find the Messenger to show to a person who is signed in to iTop, and sign the person's identity.

The bridge signs a JSON Web Token with the Messenger API secret. Intercom verifies the token:
https://developers.intercom.com/installing-intercom/web/identity-verification
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
import structlog

from intercom_bridge.intercom.text import clean_text
from intercom_bridge.models import CachedAnswer, ItopInstance, Messenger, Workspace
from intercom_bridge.tickets.people.evidence import parse_id
from intercom_bridge.tickets.people.person import Person
from intercom_bridge.tickets.preview import sample_context
from intercom_bridge.tickets.scope import find_people
from itop_client import Deadline

log = structlog.get_logger(__name__)

# How long the bridge caches a person's data.
CACHE_SECONDS: Final = 600.0
TOKEN_SECONDS: Final = 3600
# How long the bridge waits for iTop. iTop's page waits only 0.3 seconds, but the next page gets the cached answer.
ITOP_SECONDS: Final = 5.0
# The host that the Messenger's script connects to, by region.
API_BASES: Final = {
    Workspace.Region.US: "https://api-iam.intercom.io",
    Workspace.Region.EU: "https://api-iam.eu.intercom.io",
    Workspace.Region.AU: "https://api-iam.au.intercom.io",
}
MAX_PROFILES = 200
MAX_TEXT_LENGTH = 255
_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_NONCE = re.compile(r"[0-9a-f]{32,64}")
# A language of iTop, such as "FR FR". The group is the language without the country.
_LANGUAGE = re.compile(r"([A-Za-z]{2})(?:[ _-].*)?")


class QuestionError(ValueError):
    """The body of a signed request is not a valid Question."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """The extension's question: which Messenger, if any, does this signed-in person see on this page.

    `asked_at` is in Unix seconds, by the clock of iTop's server. `page` is the id of a portal, or BACKOFFICE.
    """

    asked_at: int
    nonce: str
    page: str
    person_class: str
    person_id: int
    profiles: frozenset[str]
    language: str

    @classmethod
    def parse(cls, data: object) -> Question:
        """Parse the JSON of a request. Raise QuestionError."""
        fields = data if isinstance(data, dict) else {}
        person = fields.get("person")
        person = person if isinstance(person, dict) else {}
        profiles = fields.get("profiles")
        profiles = profiles if isinstance(profiles, list) else []
        # `parse_id` returns 0 and `_text` returns "" for a missing or invalid value.
        question = cls(
            asked_at=parse_id(fields.get("time")),
            nonce=_text(fields.get("nonce")),
            page=_text(fields.get("page")),
            person_class=_text(person.get("class")),
            person_id=parse_id(person.get("id")),
            profiles=frozenset(map(_text, profiles[:MAX_PROFILES])),
            language=_text(fields.get("language")),
        )
        if not (question.asked_at and question.person_id and _NONCE.fullmatch(question.nonce)):
            raise QuestionError("time, nonce or person is missing")
        if not _CLASS.fullmatch(question.person_class):
            raise QuestionError("the person's class is not a class of iTop")
        return question


@dataclass(frozen=True)
class Identity:
    """The Messenger that a person sees, and the claims about the person in the token."""

    messenger: Messenger
    claims: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """Return the page's `intercomSettings` with a new token.

        Raise SecretDecryptionError if the Messenger API secret cannot be decrypted.
        """
        issued_at = int(time.time())
        claims = {**self.claims, "iat": issued_at, "exp": issued_at + TOKEN_SECONDS}
        settings = {
            "api_base": API_BASES[Workspace.Region(self.messenger.workspace.region)],
            "app_id": self.messenger.workspace.workspace_id,
            "intercom_user_jwt": jwt.encode(claims, self.messenger.signing_secret(), algorithm="HS256"),
        }
        if language := self.claims.get("language_override"):
            settings["language_override"] = language
        return settings


def identify(itop: ItopInstance, question: Question) -> Identity | None:
    """Return the person's identity for the first Messenger that serves the person on this page, or None.

    Raise ItopError if iTop cannot be asked, or SecretDecryptionError if a secret cannot be decrypted.
    """
    # One deadline for the queries of all Messengers.
    deadline = Deadline(ITOP_SECONDS)
    for messenger in Messenger.objects.shown_in(itop):
        if question.page not in messenger.pages:
            continue
        if messenger.allowed_profiles and question.profiles.isdisjoint(messenger.allowed_profiles):
            continue
        description = _find_description(messenger, question.person_id, deadline)
        if description is not None:
            return Identity(messenger, _claims(messenger, description, question))
    return None


def messenger_question(workspace: Workspace, person_id: int) -> str:
    """Return the beginning of every `CachedAnswer.question` under which this person is cached."""
    return f"messenger of workspace {workspace.pk}: {person_id}, "


def _find_description(messenger: Messenger, person_id: int, deadline: Deadline) -> dict[str, Any] | None:
    """Return the person's description (`_description`), or None if the person is inactive or out of scope.

    iTop is queried at most once in ten minutes, or twice if the scope needs a query of its own
    (`tickets.scope.find_people`). Raise ItopError or SecretDecryptionError.
    """
    workspace = messenger.workspace
    codes = sorted(set(messenger.person_attributes.values()))
    question = f"{messenger_question(workspace, person_id)}{codes}, {workspace.scope}"
    answer = CachedAnswer.objects.fresh(workspace.itop, question, CACHE_SECONDS)
    if answer is not None:
        return answer.value or None
    person = _query_person(workspace, person_id, codes, deadline)
    # The cache stores {} for a person who is inactive or out of scope.
    description = _description(person, codes) if person is not None and person.is_active else {}
    CachedAnswer.objects.store(workspace.itop, question, description)
    return description or None


def _query_person(
    workspace: Workspace, person_id: int, codes: list[str], deadline: Deadline
) -> Person | None:
    """Return the person with the attributes in `codes` that iTop has, or None if the person is out of scope."""
    context = sample_context(workspace, deadline)
    people, _has_more = find_people(
        context, lambda alias: f"{alias}.id = {person_id}", limit=1, optional=codes
    )
    if not people:
        return None
    person = people[0]
    if missing := set(codes) - person.attributes.keys():
        # The Messenger works without these attributes. The doctor reports them.
        log.warning("messenger.unknown_attribute", itop=workspace.itop.name, attribute=min(missing))
    return person


def _description(person: Person, codes: list[str]) -> dict[str, Any]:
    """Return what the token may contain about the person, as JSON values that CachedAnswer can store."""
    return {
        "name": clean_text(person.name),
        "email": clean_text(person.email),
        "org_id": person.org_id,
        "org_name": clean_text(person.org_name),
        "attributes": {
            code: clean_text(person.attributes[code]) for code in codes if code in person.attributes
        },
    }


def _claims(messenger: Messenger, description: Mapping[str, Any], question: Question) -> dict[str, Any]:
    """Return the claims of the token about the person, given their `_description`."""
    itop = messenger.workspace.itop
    claims = {
        name: description["attributes"][code]
        for name, code in messenger.person_attributes.items()
        if code in description["attributes"]
    }
    claims |= {
        "user_id": itop.user_id_of(question.person_id),
        "name": description["name"],
        "itop_contact_class": question.person_class,
        "itop_contact_id": question.person_id,
    }
    if description["email"]:
        claims["email"] = description["email"]
    if messenger.sends_company and description["org_id"]:
        claims["company"] = {
            "company_id": f"itop-{itop.public_id}-organization-{description['org_id']}",
            "name": description["org_name"],
        }
    language = _LANGUAGE.fullmatch(question.language)
    if messenger.sends_language and language:
        claims["language_override"] = language[1].lower()
    return claims


def _text(value: object) -> str:
    return value[:MAX_TEXT_LENGTH] if isinstance(value, str) else ""
