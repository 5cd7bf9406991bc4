"""Reports about scopes for admins: which workspaces serve a person, and how many persons each scope contains."""

from dataclasses import dataclass

from intercom_bridge.datamodel.class_names import describe_unknown_class, describe_unknown_classes
from intercom_bridge.models import ItopInstance, Workspace
from intercom_bridge.models.encryption import SecretDecryptionError
from itop_client import Deadline, ItopError, ItopRejectedError, OqlError, UnknownClassError, parse

from .context import PanelContext, get_objects
from .people.candidates import words_condition
from .people.evidence import parse_id
from .people.person import FIELDS, Person
from .preview import person_condition, sample_context
from .scope import ScopeKind, people_query, person_attributes, serves

MAX_PEOPLE = 10
# How long a report may take.
SECONDS = 15.0
# How long the check of a scope may take while an admin waits for a form to be saved.
SAVE_SECONDS = 5.0

UNUSABLE_SCOPE = "The scope is not a valid query."
DEPENDS_ON_PERSON = "Cannot be counted: the scope has to be evaluated for each person."


@dataclass(frozen=True)
class Verdict:
    """Whether a workspace serves a person, and a sentence that says why. `serves` is None if it is unknown."""

    workspace: Workspace
    serves: bool | None
    reason: str


@dataclass(frozen=True)
class PersonReport:
    """A person, and the verdict of each workspace of their iTop."""

    person: Person
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class ScopeSize:
    """The number of persons in a workspace's scope. If it is unknown, `people` is None and `reason` says why."""

    workspace: Workspace
    people: int | None
    reason: str = ""


def report_people(text: str, itop: ItopInstance) -> list[PersonReport]:
    """Return up to ten persons with this e-mail address, id or name, each with the verdicts of the iTop's workspaces.

    Raise ItopError or SecretDecryptionError.
    """
    deadline = Deadline(SECONDS)
    workspaces = list(itop.workspaces.select_related("itop", "profile"))
    scope_attributes = {
        code for workspace in workspaces if _is_usable(workspace) for code in person_attributes(workspace)
    }
    extra = tuple(sorted(scope_attributes))
    context = sample_context(Workspace(itop=itop), deadline)
    found = get_objects(
        context,
        "Person",
        f"SELECT Person AS p WHERE {_condition(text)}",
        fields=FIELDS,
        # Optional, because an attribute that iTop lacks concerns only the workspace whose scope refers to it.
        optional=extra,
        limit=MAX_PEOPLE,
    )
    people = [Person.from_itop(item, extra=extra) for item in found]
    return [
        PersonReport(person, tuple(_verdict(workspace, person, deadline) for workspace in workspaces))
        for person in people
    ]


def count_scopes(itop: ItopInstance) -> list[ScopeSize]:
    """Return the size of each workspace's scope. Raise SecretDecryptionError."""
    deadline = Deadline(SECONDS)
    return [
        _count(sample_context(workspace, deadline))
        for workspace in itop.workspaces.select_related("itop", "profile")
    ]


def scope_problem(workspace: Workspace) -> str:
    """Return a sentence that says why iTop cannot evaluate the scope, or "" if it can.

    If iTop does not respond within SAVE_SECONDS, only look for unknown classes, by the imported data model.
    """
    try:
        _evaluate_without_person(sample_context(workspace, Deadline(SAVE_SECONDS)))
    except UnknownClassError as error:
        return describe_unknown_class(workspace.itop, error)
    except ItopRejectedError as error:
        return f"iTop rejects the scope: {error}"
    except (ItopError, SecretDecryptionError):
        return " ".join(describe_unknown_classes(workspace.itop, workspace.scope))
    return ""


def _is_usable(workspace: Workspace) -> bool:
    """Return whether the scope is valid OQL. iTop is not asked."""
    try:
        parse(workspace.scope)
    except OqlError:
        return False
    return True


def _condition(text: str) -> str:
    """Return OQL for the persons whom the admin searches for. An empty text finds nobody, because no id is 0."""
    if parse_id(text) or "@" in text:
        return person_condition(text, "p")
    return words_condition(text, "p", ("friendlyname",)) or "p.id = 0"


def _verdict(workspace: Workspace, person: Person, deadline: Deadline) -> Verdict:
    if not _is_usable(workspace):
        return Verdict(workspace, None, UNUSABLE_SCOPE)
    missing_codes = [code for code in person_attributes(workspace) if code not in person.attributes]
    if missing_codes:
        return Verdict(
            workspace,
            None,
            f"The scope refers to {missing_codes[0]}, which a Person in this iTop does not have.",
        )
    try:
        is_served = serves(sample_context(workspace, deadline), person)
    except UnknownClassError as error:
        return Verdict(workspace, None, describe_unknown_class(workspace.itop, error))
    except (ItopError, OqlError) as error:
        return Verdict(workspace, None, f"iTop could not answer: {error}")
    if is_served and not workspace.enabled:
        return Verdict(workspace, False, "The scope contains this person, but the workspace is disabled.")
    return Verdict(workspace, is_served, _explain(workspace, person, is_served=is_served))


def _explain(workspace: Workspace, person: Person, *, is_served: bool) -> str:
    """Return a sentence that says why the scope contains the person or does not."""
    query = parse(workspace.scope)
    found = "finds" if is_served else "does not find"
    match ScopeKind.of(query):
        case ScopeKind.ORGANIZATION if not person.org_id:
            return "The scope selects organizations, and the person has no organization."
        case ScopeKind.ORGANIZATION:
            return f"The scope {found} the person's organization, {person.org_name or person.org_id}."
        case ScopeKind.PERSON:
            return f"The scope {found} the person."
        case ScopeKind.ACCOUNT:
            return f"The scope {found} an account of the person."
        case ScopeKind.OTHER:
            return f"For this person the scope {found} an object of class {query.class_name}."


def _count(context: PanelContext) -> ScopeSize:
    workspace = context.workspace
    if not _is_usable(workspace):
        return ScopeSize(workspace, None, UNUSABLE_SCOPE)
    try:
        query = people_query(workspace, lambda alias: f"{alias}.id > 0")
        if query is None:
            # Evaluated only to report a scope that iTop rejects.
            _evaluate_without_person(context)
            return ScopeSize(workspace, None, DEPENDS_ON_PERSON)
        found = get_objects(context, query.class_name, str(query), fields=("id",), limit=1)
    except UnknownClassError as error:
        return ScopeSize(workspace, None, describe_unknown_class(workspace.itop, error))
    except (ItopError, OqlError) as error:
        return ScopeSize(workspace, None, f"iTop could not answer: {error}")
    return ScopeSize(workspace, found.total)


def _evaluate_without_person(context: PanelContext) -> None:
    """Evaluate the scope with 0 for each value of the person. Raise ItopError if iTop rejects it."""
    template = parse(context.workspace.scope)
    query = template.fill(dict.fromkeys(template.placeholders, 0))
    get_objects(context, query.class_name, str(query), fields=("id",), limit=1)
