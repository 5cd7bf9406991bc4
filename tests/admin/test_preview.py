"""A profile is tried before it is saved: the panel's screens for a sample person, and what of it is not shown."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from intercom_bridge.models import (
    Conversation,
    ItopInstance,
    KnownTickets,
    LearnedClass,
    PersonMatch,
    Submission,
    TicketProfile,
    Workspace,
)
from sandbox.itop import Itop
from tests.canvas.schema import check_canvas

pytestmark = pytest.mark.django_db


def address(profile: TicketProfile | None = None) -> str:
    base = "/admin/intercom_bridge/ticketprofile"
    return f"{base}/{profile.pk}/preview/" if profile else f"{base}/preview/"


def typed(profile: TicketProfile, **changed: str) -> dict[str, str]:
    """The profile's own form as a browser sends it."""
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
    """The canvases on the page, each held against Canvas Kit's documented shapes."""
    page = response.content.decode()
    found = [json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    for one in found:
        check_canvas(one)
    return found


def words(response: Any) -> str:
    return html.unescape(response.content.decode())


def labels(canvas: dict[str, Any]) -> list[str]:
    return [one["label"] for one in canvas["canvas"]["content"]["components"] if "label" in one]


def test_it_shows_the_first_screen_the_form_and_a_ticket(admin_client: Client, workspace: Workspace) -> None:
    response = admin_client.get(
        address(workspace.profile), {"preview-workspace": workspace.pk, "preview-who": "40"}
    )
    first, form, ticket = screens(response)
    assert "Alice Martin" in json.dumps(first)
    assert labels(form)[:2] == ["Title *", "Description *"]
    assert "R-0" in json.dumps(ticket)


def test_the_person_may_be_named_by_address_or_left_open(admin_client: Client, workspace: Workspace) -> None:
    asked = {"preview-workspace": workspace.pk, "preview-who": "Dana.Oneil+x@globex.example"}
    assert "Dana O'Neil" in str(screens(admin_client.get(address(workspace.profile), asked)))
    assert len(screens(admin_client.get(address(workspace.profile)))) >= 2


def test_the_profile_is_taken_as_it_was_typed_and_stays_as_it_is_saved(
    admin_client: Client, workspace: Workspace
) -> None:
    profile = workspace.profile
    edited = typed(profile, form_attributes="title\ndescription\nimpact", details_attributes="urgency")
    response = admin_client.post(
        address(profile), edited | {"preview-workspace": workspace.pk, "preview-who": "40"}
    )
    _first, form, ticket = screens(response)
    assert "Impact" in str(labels(form))
    assert "Service" not in str(labels(form))
    assert [one["field"] for one in find(ticket, "data-table")["items"]] == ["Urgency", "Agent", "Team"]
    assert (
        TicketProfile.objects.get().form_attributes
        == profile._meta.get_field("form_attributes").get_default()
    )
    # What was typed goes on to the next look.
    assert 'name="form_attributes" value="title' in words(response)


def find(canvas: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one for one in canvas["canvas"]["content"]["components"] if one["type"] == kind)


def test_a_new_profile_can_be_tried_too(admin_client: Client, workspace: Workspace) -> None:
    edited = typed(TicketProfile(name="New"), form_attributes="title\ndescription\nurgency")
    response = admin_client.post(address(), edited)
    assert "Urgency" in str(labels(screens(response)[1]))
    assert not TicketProfile.objects.filter(name="New").exists()


def test_a_mapping_that_was_typed_counts_for_the_scope_as_well(
    admin_client: Client, workspace: Workspace
) -> None:
    profile = workspace.profile
    TicketProfile.objects.update(attributes_mapping={"caller_id": "approver_id", "org_id": "team_id"})
    response = admin_client.post(
        address(profile),
        typed(profile, attributes_mapping="{}") | {"preview-workspace": workspace.pk, "preview-who": "40"},
    )
    assert "This person has no ongoing ticket." not in words(response)
    assert len(screens(response)) == 3


def test_whoever_is_served_is_found_where_the_first_person_is_not(
    admin_client: Client, workspace: Workspace
) -> None:
    Workspace.objects.update(
        scope="SELECT Organization WHERE id = :current_contact->org_id AND name LIKE 'Acme%'"
    )
    response = admin_client.get(address(workspace.profile), {"preview-workspace": workspace.pk})
    assert "serves nobody" not in words(response)
    assert len(screens(response)) >= 2


def test_what_cannot_be_saved_is_not_previewed_and_said(admin_client: Client, workspace: Workspace) -> None:
    response = admin_client.post(
        address(workspace.profile), typed(workspace.profile, form_attributes="title\nref")
    )
    assert "cannot be previewed: correct it first" in words(response)
    assert "Filled in by itself, and not to be asked for: ref." in words(response)
    assert screens(response) == []


def test_attributes_that_are_not_shown_are_named(admin_client: Client, workspace: Workspace) -> None:
    edited = typed(
        workspace.profile,
        form_attributes="title\ndescription\nnonsense\nresolution_date\npriority",
        details_attributes="status\ntto",
    )
    response = admin_client.post(address(workspace.profile), edited)
    assert "nonsense, in the form: UserRequest has no such attribute." in words(response)
    assert "priority, in the form: iTop fills it in itself in a new ticket, so it is left out." in words(
        response
    )


def test_of_a_class_that_nobody_knows_it_says_so(admin_client: Client, workspace: Workspace) -> None:
    response = admin_client.post(address(workspace.profile), typed(workspace.profile, ticket_class="Problem"))
    assert "Nothing is known of Problem: import the data model of its iTop" in words(response)


def test_nothing_is_kept_and_nothing_written(admin_client: Client, workspace: Workspace, itop: Itop) -> None:
    admin_client.get(address(workspace.profile), {"preview-workspace": workspace.pk, "preview-who": "40"})
    for model in (Conversation, KnownTickets, PersonMatch, Submission, LearnedClass):
        assert not model.objects.exists()
    assert {operation for operation, _class in itop.calls} == {"core/get"}


@pytest.mark.parametrize("language", ["fr", "de", "es"])
def test_it_speaks_the_workspace_s_language(
    admin_client: Client, workspace: Workspace, language: str
) -> None:
    Workspace.objects.update(language=language)
    _first, form, *_ = screens(admin_client.get(address(workspace.profile)))
    assert "Title *" not in labels(form)


@pytest.mark.parametrize("who", ["nobody@acme.example", "99999"])
def test_somebody_who_is_not_served_is_said(admin_client: Client, workspace: Workspace, who: str) -> None:
    response = admin_client.get(
        address(workspace.profile), {"preview-workspace": workspace.pk, "preview-who": who}
    )
    assert "The workspace serves nobody whom this leads to." in words(response)


def test_an_itop_that_does_not_answer_is_said(admin_client: Client, workspace: Workspace) -> None:
    ItopInstance.objects.update(token="wrong-token")
    assert "iTop could not say: Invalid login" in words(admin_client.get(address(workspace.profile)))


def test_without_a_workspace_it_says_what_to_do(admin_client: Client) -> None:
    profile = TicketProfile.objects.create(name="Alone")
    assert "There is no workspace yet to try it in" in words(admin_client.get(address(profile)))


def test_the_button_is_on_the_profile_s_page(admin_client: Client, workspace: Workspace) -> None:
    page = words(admin_client.get(f"/admin/intercom_bridge/ticketprofile/{workspace.profile.pk}/change/"))
    assert f'formaction="{address(workspace.profile)}"' in page
    assert f'formaction="{address()}"' in words(admin_client.get("/admin/intercom_bridge/ticketprofile/add/"))


def test_it_is_for_those_who_may_see_profiles_and_read_messages(client: Client, workspace: Workspace) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    page = f"/admin/intercom_bridge/ticketprofile/{workspace.profile.pk}/change/"
    view, read = (Permission.objects.get(codename=name) for name in ("view_ticketprofile", "read_messages"))
    client.force_login(user)
    for given, status in (((), 403), ((view,), 403), ((read,), 403), ((view, read), 200)):
        user.user_permissions.set(given)
        assert client.get(address(workspace.profile)).status_code == status
        assert client.get(address()).status_code == 403
        if view in given:
            assert ("Preview the panel" in words(client.get(page))) is (read in given)
