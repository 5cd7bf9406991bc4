"""Check workspaces' scopes, and how their contacts are matched with persons in iTop."""

from collections.abc import Iterator

from intercom_bridge.datamodel.class_names import describe_unknown_class
from intercom_bridge.models import Workspace
from intercom_bridge.tickets.people.caller import find_default_caller
from intercom_bridge.tickets.preview import sample_context
from itop_client import Deadline, ItopPermissionError, ItopRejectedError, OqlError, UnknownClassError, parse

from .finding import Finding, Subject
from .probe import Probe


def examine_scopes(probe: Probe) -> Iterator[Finding]:
    """Check all workspaces of this iTop. Raise ItopError when iTop stops responding."""
    for workspace in probe.workspaces:
        subject = Subject(f"Workspace {workspace}")
        yield examine_scope(probe, workspace, subject)
        if workspace.external_id_attribute:
            yield _examine_external_id(probe, workspace.external_id_attribute, subject)
        if workspace.default_caller_id:
            yield from _examine_default_caller(probe, workspace, subject)


def examine_scope(probe: Probe, workspace: Workspace, subject: Subject) -> Finding:
    """Check the scope of a workspace, which may be unsaved. Raise ItopError when iTop stops responding."""
    check = subject.check("workspace.scope")
    try:
        template = parse(workspace.scope)
        # No person has the id 0. If the scope depends on the contact, only the syntax of the query matters.
        query = template.fill(dict.fromkeys(template.placeholders, 0))
        in_scope = probe.get(query.class_name, str(query))
    except UnknownClassError as error:
        return check.failure(
            f"its scope cannot be evaluated: {describe_unknown_class(probe.itop, error)}",
            f"Correct the scope in the admin; until then the panel stays empty. It is now: {workspace.scope}",
        )
    except (OqlError, ItopRejectedError) as error:
        return check.failure(
            f"iTop rejects its scope: {error}",
            "Correct the scope in the admin; until then the panel stays empty. Try it on iTop's page “Run queries”.",
        )
    except ItopPermissionError as error:
        return check.failure(
            f"its scope cannot be evaluated: {error}",
            "Allow the account in iTop to read the class in the scope, or use another class.",
        )
    if template.placeholders:
        return check.ok("iTop accepts its scope, which depends on the contact")
    if not in_scope.total:
        return check.warning(
            "its scope finds nothing in iTop, so no contact is in scope",
            f"Correct the scope in the admin. It is now: {workspace.scope}",
        )
    return check.ok(f"its scope finds objects of the class {query.class_name}: {in_scope.total}")


def _examine_external_id(probe: Probe, code: str, subject: Subject) -> Finding:
    check = subject.check("workspace.external_id")
    try:
        probe.try_reading("Person", ("id", code))
        probe.get("Person", f"SELECT Person AS p WHERE p.{code} = '0'")
    except ItopRejectedError as error:
        return check.failure(
            f"the class Person in iTop has no attribute {code}, by which contacts are to be matched: {error}",
            "Correct the iTop attribute for external_id in the admin, or clear the field.",
        )
    except ItopPermissionError as error:
        return check.failure(
            f"persons cannot be found by {code}: {error}", "Allow the account in iTop to read Person."
        )
    return check.ok(f"persons in iTop can be found by {code}")


def _examine_default_caller(probe: Probe, workspace: Workspace, subject: Subject) -> Iterator[Finding]:
    check = subject.check("workspace.default_caller")
    person_id = workspace.default_caller_id
    try:
        person = find_default_caller(sample_context(workspace, Deadline(probe.request_seconds)))
    except (OqlError, ItopRejectedError, ItopPermissionError):
        return  # The checks of the scope and of the account report this error.
    if person is None:
        yield check.failure(
            f"the caller for unknown customers, Person {person_id}, is not in the workspace's scope, or not in iTop",
            "Correct the caller for unknown customers in the admin, or clear the field.",
        )
    elif not person.is_active:
        yield check.warning(
            f"the caller for unknown customers, {person.name}, is inactive in iTop",
            "Activate the person in iTop, or enter another one in the admin.",
        )
    else:
        yield check.ok(f"the caller for unknown customers is {person.name}")
