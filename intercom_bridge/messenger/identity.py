"""Find the Messenger to show to a person who is signed in to iTop, and sign the person's identity.

The identity is a JSON Web Token that Intercom verifies with the Messenger API secret:
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

# A person's data is cached for this long.
CACHE_SECONDS: Final = 600.0
TOKEN_SECONDS: Final = 3600
# iTop's page waits for a shorter time, but the answer is cached for the next page.
ITOP_SECONDS: Final = 5.0
# The host that the Messenger's script connects to, by region.
API_BASES: Final = {
    Workspace.Region.US: "https://api-iam.intercom.io",
    Workspace.Region.EU: "https://api-iam.eu.intercom.io",
    Workspace.Region.AU: "https://api-iam.au.intercom.io",
}
MAX_PROFILES = 200
MAX_NAME_LENGTH = 255
_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_NONCE = re.compile(r"[0-9a-f]{32,64}")
_LANGUAGE = re.compile(r"([A-Za-z]{2})(?:[ _-].*)?")


class QuestionError(ValueError):
    """The body of a signed request is not a question about the Messenger."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question of iTop's extension: the signed-in person and the page. `asked_at` is iTop's time, in Unix seconds."""

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
        raw = data if isinstance(data, dict) else {}
        person = raw.get("person")
        person = person if isinstance(person, dict) else {}
        profiles = raw.get("profiles")
        question = cls(
            asked_at=parse_id(raw.get("time")),
            nonce=_text(raw.get("nonce")),
            page=_text(raw.get("page")),
            person_class=_text(person.get("class")),
            person_id=parse_id(person.get("id")),
            profiles=frozenset(map(_text, profiles[:MAX_PROFILES] if isinstance(profiles, list) else ())),
            language=_text(raw.get("language")),
        )
        if not (question.asked_at and question.person_id and _NONCE.fullmatch(question.nonce)):
            raise QuestionError("time, nonce or person is missing")
        if not _CLASS.fullmatch(question.person_class):
            raise QuestionError("the person's class is not a class of iTop")
        return question


@dataclass(frozen=True)
class Identity:
    """A person who sees a workspace's Messenger, with the claims about the person that are sent to Intercom."""

    messenger: Messenger
    claims: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """Return the page's `intercomSettings`, with a new token. Raise SecretDecryptionError."""
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
    """Return the identity for the first Messenger that serves the person on this page, or None.

    Raise ItopError, or SecretDecryptionError if a secret cannot be decrypted.
    """
    deadline = Deadline(ITOP_SECONDS)
    for messenger in Messenger.objects.shown_in(itop):
        if question.page not in messenger.pages:
            continue
        if messenger.allowed_profiles and question.profiles.isdisjoint(messenger.allowed_profiles):
            continue
        person = _find_person(messenger, question.person_id, deadline)
        if person is not None:
            return Identity(messenger, _claims(messenger, person, question))
    return None


def messenger_question(workspace: Workspace, person_id: int) -> str:
    """Return the prefix of the questions that cache a person's data."""
    return f"messenger of workspace {workspace.pk}: {person_id}, "


def _find_person(messenger: Messenger, person_id: int, deadline: Deadline) -> dict[str, Any] | None:
    """Return the data to send about the person, or None if the person is inactive or out of scope.

    Queries iTop at most once in ten minutes; twice if the scope cannot be part of a query on persons
    (`tickets.scope.people_query`). Raise ItopError or SecretDecryptionError.
    """
    workspace = messenger.workspace
    codes = sorted(set(messenger.person_attributes.values()))
    question = f"{messenger_question(workspace, person_id)}{codes}, {workspace.scope}"
    answer = CachedAnswer.objects.fresh(workspace.itop, question, CACHE_SECONDS)
    if answer is not None:
        return answer.value or None
    person = _query(workspace, person_id, codes, deadline)
    found = _description(person, codes) if person is not None and person.is_active else {}
    CachedAnswer.objects.store(workspace.itop, question, found)
    return found or None


def _query(workspace: Workspace, person_id: int, codes: list[str], deadline: Deadline) -> Person | None:
    context = sample_context(workspace, deadline)
    people, _has_more = find_people(context, lambda person: f"{person}.id = {person_id}", 1, codes)
    if people and (missing := set(codes) - people[0].attributes.keys()):
        # The Messenger works without the attribute. The doctor reports it.
        log.warning("messenger.unknown_attribute", itop=workspace.itop.name, attribute=min(missing))
    return people[0] if people else None


def _description(person: Person, codes: list[str]) -> dict[str, Any]:
    return {
        "name": clean_text(person.name),
        "email": clean_text(person.email),
        "org_id": person.org_id,
        "org_name": clean_text(person.org_name),
        "attributes": {
            code: clean_text(person.attributes[code]) for code in codes if code in person.attributes
        },
    }


def _claims(messenger: Messenger, person: Mapping[str, Any], question: Question) -> dict[str, Any]:
    itop = messenger.workspace.itop
    claims = {
        name: person["attributes"][code]
        for name, code in messenger.person_attributes.items()
        if code in person["attributes"]
    }
    claims |= {
        "user_id": itop.user_id_of(question.person_id),
        "name": person["name"],
        "itop_contact_class": question.person_class,
        "itop_contact_id": question.person_id,
    }
    if person["email"]:
        claims["email"] = person["email"]
    if messenger.sends_company and person["org_id"]:
        claims["company"] = {
            "company_id": f"itop-{itop.public_id}-organization-{person['org_id']}",
            "name": person["org_name"],
        }
    language = _LANGUAGE.fullmatch(question.language)
    if messenger.sends_language and language:
        claims["language_override"] = language[1].lower()
    return claims


def _text(value: object) -> str:
    return value[:MAX_NAME_LENGTH] if isinstance(value, str) else ""
