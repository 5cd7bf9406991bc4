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

# Attributes that iTop may lack, for example because it never had the PHP extension. The bridge works without them.
_OPTIONAL_ATTRIBUTES = ("intercom_ref", "intercom_url", "intercom_sync_activated", "origin")
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
                f"could not be checked: the account may not read {profile.ticket_class}",
                "See the findings about the account.",
            )


def _examine_attributes(
    probe: Probe, profile: TicketProfile, subject: Subject, ticket_class: TicketClass
) -> Iterator[Finding]:
    check = subject.check("profile.attributes")
    uses = _attribute_uses(profile)
    remaining = dict(uses)
    # iTop names only the first attribute that it does not know, so ask again without this attribute.
    while remaining:
        try:
            probe.try_reading(profile.ticket_class, ("id", *remaining))
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


def _attribute_uses(profile: TicketProfile) -> dict[str, str]:
    """Return how the profile uses each attribute, by its code: {"title": "a field of its create form"}."""
    uses = {profile.subtitle_attribute: "its subtitle in lists"}
    for codes, use in (
        (profile.details_attributes, "one of its details"),
        (list(profile.defaults), "one of its defaults"),
        (profile.form_attributes, "a field of its create form"),
    ):
        uses |= dict.fromkeys(codes, use)
    for name in STOCK_ATTRIBUTES:
        if name not in _OPTIONAL_ATTRIBUTES or name in profile.attributes_mapping:
            uses[profile.code(name)] = f"mapped as its {name}"
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
    # If the data model of this iTop was not imported, `ticket_class` is the class of a standard iTop.
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
    """Check that iTop can list the values of the create form's external keys."""
    form_attributes = [ticket_class.attributes.get(code) for code in profile.form_attributes]
    external_keys = [attribute for attribute in form_attributes if attribute and attribute.kind is Kind.KEY]
    findings = [_choices_failure(probe, key, subject) for key in external_keys]
    failures = [finding for finding in findings if finding is not None]
    yield from failures
    if external_keys and not failures:
        yield subject.check("profile.choices").ok(
            f"iTop can list the values of {', '.join(key.code for key in external_keys)}"
        )


def _choices_failure(probe: Probe, key: Attribute, subject: Subject) -> Finding | None:
    """Return a failure if iTop cannot list the values of this external key; None if it can."""
    check = subject.check("profile.choices")
    try:
        template = parse(key.filter or f"SELECT {key.target_class}")
        # The filter may refer to other fields of the ticket. They are 0, as in an empty form: only the syntax matters.
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
            "Import this iTop's data model in the admin. Until then, the bridge uses the filter of an earlier import, "
            "or that of a standard iTop.",
        )
    return None
