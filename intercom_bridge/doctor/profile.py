"""Compare ticket profiles with the classes and attributes that iTop has."""

from collections.abc import Iterator

from intercom_bridge.datamodel import Attribute, Kind, TicketClass
from intercom_bridge.datamodel.lookup import ticket_class_of
from intercom_bridge.datamodel.profile_check import ProfileCheck, did_you_mean
from intercom_bridge.models import ImportedClass, TicketProfile
from intercom_bridge.models.ticket_profile import STOCK_ATTRIBUTES
from itop_client import (
    ItopPermissionError,
    ItopRejectedError,
    OqlError,
    UnknownAttributeError,
    UnknownClassError,
    parse,
)

from .finding import Finding, Subject
from .probe import Probe

# Missing in an iTop that never had the PHP extension, which is fine.
_OPTIONAL_PARTS = ("intercom_ref", "intercom_url", "intercom_sync_activated", "origin")
_CORRECT_PROFILE = "Correct the ticket profile in the admin."


def examine_profiles(probe: Probe) -> Iterator[Finding]:
    """Check all profiles. Raise ItopError when iTop stops responding."""
    for profile in probe.profiles:
        subject = Subject(f"Ticket profile “{profile.name}” in {probe.subject.name}")
        ticket_class = ticket_class_of(probe.itop, profile.ticket_class)
        try:
            yield from _examine_attributes(probe, profile, subject, ticket_class)
            yield from _examine_states(profile, subject, ticket_class)
            yield from _examine_defaults(probe, profile, subject, ticket_class)
            yield from _examine_choices(probe, profile, subject, ticket_class)
        except UnknownClassError:
            yield subject.check("profile.class").failure(
                f"iTop has no class {profile.ticket_class}",
                f"{_CORRECT_PROFILE} Use the name in the data model, for example UserRequest or Incident.",
            )
        except ItopPermissionError:
            yield subject.check("profile.attributes").warning(
                "could not be checked: the account may not read that class",
                "See the findings about the account.",
            )


def _examine_attributes(
    probe: Probe, profile: TicketProfile, subject: Subject, ticket_class: TicketClass
) -> Iterator[Finding]:
    check = subject.check("profile.attributes")
    uses = _uses(profile)
    remaining = dict(uses)
    while remaining:
        try:
            probe.test(profile.ticket_class, ("id", *remaining))
        except UnknownAttributeError as error:
            if error.attribute not in remaining:
                raise
            use = remaining.pop(error.attribute)
            yield check.failure(
                f"{profile.ticket_class} has no attribute {error.attribute}, which is {use}",
                f"{_CORRECT_PROFILE}{did_you_mean(error.attribute, ticket_class.attributes)}",
            )
        else:
            break
    if len(remaining) == len(uses):
        yield check.ok(f"{profile.ticket_class} has all {len(uses)} attributes of the profile")


def _uses(profile: TicketProfile) -> dict[str, str]:
    """Return a text about the use of each code in the profile, by code."""
    uses = {profile.subtitle_attribute: "its subtitle in lists"}
    for codes, use in (
        (profile.details_attributes, "one of its details"),
        (list(profile.defaults), "one of its defaults"),
        (profile.form_attributes, "a field of its create form"),
    ):
        uses |= dict.fromkeys(codes, use)
    for part in STOCK_ATTRIBUTES:
        if part not in _OPTIONAL_PARTS or part in profile.attributes_mapping:
            uses[profile.code(part)] = f"mapped as its {part}"
    return uses


def _examine_states(profile: TicketProfile, subject: Subject, ticket_class: TicketClass) -> Iterator[Finding]:
    for sentence in ProfileCheck(profile, ticket_class).mistakes().get("excluded_states", ()):
        yield subject.check("profile.states").warning(
            f"contains an unknown state: {sentence}",
            f"{_CORRECT_PROFILE} Until then, closed tickets may count as ongoing.",
        )


def _examine_defaults(
    probe: Probe, profile: TicketProfile, subject: Subject, ticket_class: TicketClass
) -> Iterator[Finding]:
    check = subject.check("profile.defaults")
    is_imported = ImportedClass.objects.filter(itop=probe.itop, name=profile.ticket_class).exists()
    refusal = "iTop does not allow" if is_imported else "a standard iTop does not have"
    for sentence in ProfileCheck(profile, ticket_class).default_mistakes():
        found = f"has a default value that {refusal}: {sentence}"
        if is_imported:
            yield check.failure(found, f"{_CORRECT_PROFILE} Until then, tickets cannot be created.")
        else:
            yield check.warning(
                found, f"{_CORRECT_PROFILE} If this iTop has the value, import its data model."
            )


def _examine_choices(
    probe: Probe, profile: TicketProfile, subject: Subject, ticket_class: TicketClass
) -> Iterator[Finding]:
    keys = [
        attribute
        for code in profile.form_attributes
        if (attribute := ticket_class.attributes.get(code)) and attribute.kind is Kind.KEY
    ]
    failures = [finding for key in keys if (finding := _choices_failure(probe, key, subject))]
    yield from failures
    if keys and not failures:
        yield subject.check("profile.choices").ok(
            f"iTop can list the values of {', '.join(key.code for key in keys)}"
        )


def _choices_failure(probe: Probe, key: Attribute, subject: Subject) -> Finding | None:
    check = subject.check("profile.choices")
    try:
        template = parse(key.filter or f"SELECT {key.target_class}")
        # With the values of an empty form: only the syntax matters.
        query = template.fill_object(dict.fromkeys(template.object_codes, 0))
        probe.get(query.class_name, str(query))
    except ItopPermissionError as error:
        return check.failure(
            f"its create form cannot list values of {key.code}: {error.detail}",
            f"Allow the account in iTop to read {key.target_class}, or remove the field from the form.",
        )
    except (OqlError, ItopRejectedError) as error:
        return check.failure(
            f"iTop rejects the filter of {key.code}, a field of its create form: {error}",
            "Import this iTop's data model in the admin: the known filter is outdated, or that of a standard iTop.",
        )
    return None
