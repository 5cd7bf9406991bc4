"""A ticket profile, held against what an iTop really has."""

from __future__ import annotations

from collections.abc import Iterator

from intercom_bridge.datamodel import Attribute, Kind, TicketClass
from intercom_bridge.datamodel.fit import Fit, meant
from intercom_bridge.datamodel.known import ticket_class_of
from intercom_bridge.models import TicketProfile
from intercom_bridge.models.ticket_profile import STOCK_ATTRIBUTES
from itop_client import ItopNotAllowed, ItopRefused, OqlError, UnknownAttribute, UnknownClass, parse

from .asking import Asking
from .finding import Finding, Subject

# Of the PHP extension; an iTop that never had it lacks them, and does well.
_OPTIONAL = ("intercom_ref", "intercom_url", "intercom_sync_activated", "origin")
_IN_THE_ADMIN = "Correct the ticket profile in the admin."


def examine_profiles(asking: Asking) -> Iterator[Finding]:
    """Raises ItopError when iTop stops answering."""
    for profile in asking.profiles:
        subject = Subject(f"Ticket profile “{profile.name}” in {asking.subject.name}")
        known = ticket_class_of(asking.itop, profile.ticket_class)
        try:
            yield from _examine_attributes(asking, profile, subject, known)
            yield from _examine_states(profile, subject, known)
            yield from _examine_choices(asking, profile, subject, known)
        except UnknownClass:
            yield subject.failure(
                "profile.class",
                f"iTop has no class {profile.ticket_class}",
                f"{_IN_THE_ADMIN} Classes are written as in the data model: UserRequest, Incident ...",
            )
        except ItopNotAllowed:
            yield subject.warning(
                "profile.attributes",
                "could not be looked at: the account may not read that class",
                "See what is said of the account.",
            )


def _examine_attributes(
    asking: Asking, profile: TicketProfile, subject: Subject, known: TicketClass
) -> Iterator[Finding]:
    uses = _uses(profile)
    left = dict(uses)
    query = f"SELECT {profile.ticket_class} AS t WHERE t.id = 0"
    while left:
        try:
            asking.get(profile.ticket_class, query, ("id", *left))
        except UnknownAttribute as refusal:
            if refusal.attribute not in left:
                raise
            use = left.pop(refusal.attribute)
            code = refusal.attribute
            yield subject.failure(
                "profile.attributes",
                f"{profile.ticket_class} has no attribute {code}, which is {use}",
                f"{_IN_THE_ADMIN}{meant(code, known.attributes)}",
            )
        else:
            break
    if len(left) == len(uses):
        yield subject.ok(
            "profile.attributes", f"{profile.ticket_class} has all {len(uses)} attributes that it names"
        )


def _uses(profile: TicketProfile) -> dict[str, str]:
    """Each code that the profile names, and what for."""
    uses = {profile.subtitle_attribute: "its subtitle in lists"}
    for codes, use in (
        (profile.details_attributes, "one of its details"),
        (list(profile.defaults), "one of its defaults"),
        (profile.form_attributes, "a field of its create form"),
    ):
        uses |= dict.fromkeys(codes, use)
    for part in STOCK_ATTRIBUTES:
        if part not in _OPTIONAL or part in profile.attributes_mapping:
            uses[profile.code(part)] = f"what it says its {part} is"
    return uses


def _examine_states(profile: TicketProfile, subject: Subject, known: TicketClass) -> Iterator[Finding]:
    for sentence in Fit(profile, known).mistakes().get("excluded_states", ()):
        yield subject.warning(
            "profile.states",
            f"names a state that there is not: {sentence}",
            f"{_IN_THE_ADMIN} Tickets in the state that was meant count as ongoing.",
        )


def _examine_choices(
    asking: Asking, profile: TicketProfile, subject: Subject, known: TicketClass
) -> Iterator[Finding]:
    keys = [
        known.attributes[code]
        for code in profile.form_attributes
        if code in known.attributes and known.attributes[code].kind is Kind.KEY
    ]
    refused = [finding for one in keys if (finding := _refused_choices(asking, one, subject))]
    yield from refused
    if keys and not refused:
        names = ", ".join(one.code for one in keys)
        yield subject.ok("profile.choices", f"iTop can say what may be chosen for {names}")


def _refused_choices(asking: Asking, attribute: Attribute, subject: Subject) -> Finding | None:
    try:
        template = parse(attribute.filter or f"SELECT {attribute.target_class}")
        # Of an empty form: it is about whether iTop understands it.
        query = template.fill_object(dict.fromkeys(template.object_codes, 0))
        asking.get(query.class_name, str(query))
    except ItopNotAllowed as refusal:
        return subject.failure(
            "profile.choices",
            f"its create form cannot offer anything for {attribute.code}: {refusal}",
            f"Let the account in iTop read {attribute.target_class}, or take the field out of the form.",
        )
    except (OqlError, ItopRefused) as refusal:
        return subject.failure(
            "profile.choices",
            f"iTop does not understand the filter of {attribute.code}, a field of its create form: {refusal}",
            "Import this iTop's data model in the admin: the filter that is known is an old one, or stock iTop's.",
        )
    return None
