"""The preview of a profile: the panel's screens for a sample person, without saving anything."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from intercom_bridge.models import (
    CachedTickets,
    Conversation,
    ImportedClass,
    ItopInstance,
    PersonMatch,
    TicketCreation,
    TicketProfile,
    Workspace,
)
from sandbox.itop import Itop
from tests.panel.schema import check_canvas

pytestmark = pytest.mark.django_db


def address(profile: TicketProfile | None = None) -> str:
    base = "/admin/intercom_bridge/ticketprofile"
    return f"{base}/{profile.pk}/preview/" if profile else f"{base}/preview/"


def typed(profile: TicketProfile, **changed: str) -> dict[str, str]:
    """Return the profile's form as a browser sends it."""
    return {
        "name": profile.name,
        "ticket_class": profile.ticket_class,
        "form_attributes": "\n".join(profile.form_attributes),
        "defaults": json.dumps(profile.defaults),
        "excluded_states": "\n".join(profile.excluded_states),
        "subtitle_attribute": profile.subtitle_attribute,
        "details_attributes": "\n".join(profile.details_attributes),
        "attributes_mapping": json.dumps(profile.attributes_mapping),
    } | changed


def screens(response: Any) -> list[dict[str, Any]]:
    """Return the canvases on the page, each validated against Canvas Kit's schema."""
    page = response.content.decode()
    found = [json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    for one in found:
        check_canvas(one)
    return found


def text_of(response: Any) -> str:
    return html.unescape(response.content.decode())


def labels(canvas: dict[str, Any]) -> list[str]:
    return [one["label"] for one in canvas["canvas"]["content"]["components"] if "label" in one]


def test_the_first_screen_the_form_and_a_ticket_are_displayed(
    admin_client: Client, workspace: Workspace
) -> None:
    response = admin_client.get(
        address(workspace.profile), {"preview-workspace": str(workspace.pk), "preview-who": "40"}
    )
    first, form, ticket = screens(response)
    assert "Alice Martin" in json.dumps(first)
    assert labels(form)[:2] == ["Title *", "Description *"]
    assert "R-0" in json.dumps(ticket)


def test_the_person_is_optional_and_may_be_an_address(admin_client: Client, workspace: Workspace) -> None:
    asked = {"preview-workspace": str(workspace.pk), "preview-who": "Dana.Oneil+x@globex.example"}
    assert "Dana O'Neil" in str(screens(admin_client.get(address(workspace.profile), asked)))
    assert len(screens(admin_client.get(address(workspace.profile)))) >= 2


def test_unsaved_changes_are_previewed_and_not_saved(admin_client: Client, workspace: Workspace) -> None:
    profile = workspace.profile
    edited = typed(profile, form_attributes="title\ndescription\nimpact", details_attributes="urgency")
    response = admin_client.post(
        address(profile), edited | {"preview-workspace": str(workspace.pk), "preview-who": "40"}
    )
    _first, form, ticket = screens(response)
    assert "Impact" in str(labels(form))
    assert "Service" not in str(labels(form))
    assert [one["field"] for one in find(ticket, "data-table")["items"]] == ["Urgency", "Agent", "Team"]
    assert (
        TicketProfile.objects.get().form_attributes
        == profile._meta.get_field("form_attributes").get_default()
    )
    # The next preview submits the changes again.
    assert 'name="form_attributes" value="title' in text_of(response)


def find(canvas: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one for one in canvas["canvas"]["content"]["components"] if one["type"] == kind)


def test_a_new_profile_can_be_previewed(admin_client: Client, workspace: Workspace) -> None:
    edited = typed(TicketProfile(name="New"), form_attributes="title\ndescription\nurgency")
    response = admin_client.post(address(), edited)
    assert "Urgency" in str(labels(screens(response)[1]))
    assert not TicketProfile.objects.filter(name="New").exists()


def test_an_unsaved_mapping_applies_to_the_scope(admin_client: Client, workspace: Workspace) -> None:
    profile = workspace.profile
    TicketProfile.objects.update(attributes_mapping={"caller_id": "approver_id", "org_id": "team_id"})
    response = admin_client.post(
        address(profile),
        typed(profile, attributes_mapping="{}")
        | {"preview-workspace": str(workspace.pk), "preview-who": "40"},
    )
    assert "This person has no ongoing ticket." not in text_of(response)
    assert len(screens(response)) == 3


def test_the_first_person_in_the_scope_is_found(admin_client: Client, workspace: Workspace) -> None:
    Workspace.objects.update(
        scope="SELECT Organization WHERE id = :current_contact->org_id AND name LIKE 'Acme%'"
    )
    response = admin_client.get(address(workspace.profile), {"preview-workspace": str(workspace.pk)})
    assert len(screens(response)) >= 2


def test_an_invalid_profile_is_not_previewed(admin_client: Client, workspace: Workspace) -> None:
    response = admin_client.post(
        address(workspace.profile), typed(workspace.profile, form_attributes="title\nref")
    )
    assert "Correct the profile before previewing it" in text_of(response)
    assert "Filled in automatically, so not in the form: ref." in text_of(response)
    assert screens(response) == []


def test_attributes_that_are_not_displayed_are_listed(admin_client: Client, workspace: Workspace) -> None:
    edited = typed(
        workspace.profile,
        form_attributes="title\ndescription\nnonsense\nresolution_date\npriority",
        details_attributes="status\ntto",
        accept_other="on",
    )
    response = admin_client.post(address(workspace.profile), edited)
    page = text_of(response)
    assert "nonsense, in the form:" in page and "priority, in the form:" in page


def test_an_unknown_class_is_reported(admin_client: Client, workspace: Workspace) -> None:
    response = admin_client.post(address(workspace.profile), typed(workspace.profile, ticket_class="Problem"))
    assert "The class Problem is not known" in text_of(response)


def test_a_preview_stores_and_writes_nothing(admin_client: Client, workspace: Workspace, itop: Itop) -> None:
    admin_client.get(
        address(workspace.profile), {"preview-workspace": str(workspace.pk), "preview-who": "40"}
    )
    for model in (Conversation, CachedTickets, PersonMatch, TicketCreation, ImportedClass):
        assert not model.objects.exists()
    assert {operation for operation, _class in itop.calls} == {"core/get"}


@pytest.mark.parametrize("language", ["fr", "de", "es"])
def test_the_preview_uses_the_workspace_s_language(
    admin_client: Client, workspace: Workspace, language: str
) -> None:
    Workspace.objects.update(language=language)
    _first, form, *_ = screens(admin_client.get(address(workspace.profile)))
    assert "Title *" not in labels(form)


@pytest.mark.parametrize("who", ["nobody@acme.example", "99999"])
def test_a_person_outside_the_scope_is_reported(admin_client: Client, workspace: Workspace, who: str) -> None:
    response = admin_client.get(
        address(workspace.profile), {"preview-workspace": str(workspace.pk), "preview-who": who}
    )
    assert screens(response) == []
    assert "bridge-warning" in text_of(response)


def test_an_itop_error_is_reported(admin_client: Client, workspace: Workspace) -> None:
    ItopInstance.objects.update(token="wrong-token")
    assert "Invalid login" in text_of(admin_client.get(address(workspace.profile)))


def test_without_a_workspace_the_page_links_to_the_connect_page(admin_client: Client) -> None:
    profile = TicketProfile.objects.create(name="Alone")
    assert "A preview needs a workspace" in text_of(admin_client.get(address(profile)))


def test_the_profile_s_page_has_a_preview_button(admin_client: Client, workspace: Workspace) -> None:
    page = text_of(admin_client.get(f"/admin/intercom_bridge/ticketprofile/{workspace.profile.pk}/change/"))
    assert f'formaction="{address(workspace.profile)}"' in page
    assert f'formaction="{address()}"' in text_of(
        admin_client.get("/admin/intercom_bridge/ticketprofile/add/")
    )


def test_the_preview_requires_permissions_for_profiles_and_messages(
    client: Client, workspace: Workspace
) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    page = f"/admin/intercom_bridge/ticketprofile/{workspace.profile.pk}/change/"
    view, read = (Permission.objects.get(codename=name) for name in ("view_ticketprofile", "read_messages"))
    client.force_login(user)
    for given, status in (((), 403), ((view,), 403), ((read,), 403), ((view, read), 200)):
        user.user_permissions.set(given)
        assert client.get(address(workspace.profile)).status_code == status
        assert client.get(address()).status_code == 403
        if view in given:
            assert ("Preview panel" in text_of(client.get(page))) is (read in given)
