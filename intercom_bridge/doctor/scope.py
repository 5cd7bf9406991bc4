"""Which people of an iTop a workspace serves: whether iTop understands the question, and whether it is anybody."""

from __future__ import annotations

from collections.abc import Iterator

from intercom_bridge.models import Workspace
from itop_client import ItopNotAllowed, ItopRefused, OqlError, parse

from .asking import Asking
from .finding import Finding, Subject


def examine_scopes(asking: Asking) -> Iterator[Finding]:
    """Raises ItopError when iTop stops answering."""
    for workspace in asking.workspaces:
        subject = Subject(f"Workspace {workspace}")
        yield _examine_scope(asking, workspace, subject)
        if workspace.external_id_attribute:
            yield _examine_external_id(asking, workspace.external_id_attribute, subject)


def _examine_scope(asking: Asking, workspace: Workspace, subject: Subject) -> Finding:
    try:
        template = parse(workspace.scope)
        # Of nobody in particular: it is about whether iTop understands it.
        query = template.fill(dict.fromkeys(template.placeholders, 0))
        found = asking.get(query.class_name, str(query))
    except (OqlError, ItopRefused) as refusal:
        return subject.failure(
            "workspace.scope",
            f"iTop does not understand its scope: {refusal}",
            "Correct the scope in the admin; until then the panel can show nothing. iTop's “Run queries” page helps.",
        )
    except ItopNotAllowed as refusal:
        return subject.failure(
            "workspace.scope",
            f"its scope cannot be evaluated: {refusal}",
            "Let the account in iTop read that class, or write the scope with another one.",
        )
    if template.placeholders:
        return subject.ok("workspace.scope", "iTop understands its scope, which depends on who writes")
    if not found.total:
        return subject.warning(
            "workspace.scope",
            "its scope finds nothing in iTop: nobody is served",
            f"Correct the scope in the admin. Now it is: {workspace.scope}",
        )
    return subject.ok("workspace.scope", f"its scope finds {found.total} of {query.class_name}")


def _examine_external_id(asking: Asking, code: str, subject: Subject) -> Finding:
    try:
        asking.get("Person", "SELECT Person AS p WHERE p.id = 0", ("id", code))
        asking.get("Person", f"SELECT Person AS p WHERE p.{code} = '0'")
    except ItopRefused as refusal:
        return subject.failure(
            "workspace.external_id",
            f"a Person in iTop has no {code}, by which its contacts are to be found: {refusal}",
            "Correct “what the external id is in iTop” in the admin, or leave it empty.",
        )
    except ItopNotAllowed as refusal:
        return subject.failure(
            "workspace.external_id",
            f"no Person can be found by {code}: {refusal}",
            "Let the account in iTop read Person.",
        )
    return subject.ok(
        "workspace.external_id", f"a Person in iTop has {code}, by which its contacts are found"
    )
