"""Whatever stands in an address or a form of the admin: an answer, and never a 500."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intercom_bridge.models import ItopInstance, TicketProfile, Workspace

OURS = sorted(
    model._meta.model_name
    for model in admin.site._registry
    if model._meta.app_label == "intercom_bridge" and model._meta.model_name
)
NASTY = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        (
            "",
            "0",
            "-1",
            "9" * 30,
            "\x00",
            "\ud800",
            "' OR 1=1 --",
            "<script>",
            "2026-02-30",
            "a" * 5000,
            "1,2",
            "é",
            "💥",
        )
    ),
)
NAMES = st.one_of(
    st.sampled_from(
        (
            "q",
            "p",
            "o",
            "e",
            "all",
            "state__exact",
            "verdict__exact",
            "why",
            "workspace__id__exact",
            "created_at__gte",
        )
        + (
            "conversation__workspace__id__exact",
            "_popup",
            "_to_field",
            "who",
            "count",
            "workspace",
            "itop",
            "index",
        )
        + ("preview-workspace", "preview-who", "_changelist_filters")
    ),
    st.text(min_size=1, max_size=20),
)
QUERIES = st.dictionaries(NAMES, NASTY, max_size=4)
PAGES = st.one_of(
    st.sampled_from(OURS).map(lambda name: reverse(f"admin:intercom_bridge_{name}_changelist")),
    st.sampled_from(("workspace", "itopinstance", "ticketprofile")).map(
        lambda name: reverse(f"admin:intercom_bridge_{name}_add")
    ),
    st.sampled_from(
        (
            "/admin/",
            "/admin/intercom_bridge/dashboard/",
            "/admin/intercom_bridge/workspace/connect/",
            "/admin/intercom_bridge/workspace/scopes/",
            "/admin/intercom_bridge/ticketprofile/preview/",
        )
    ),
    st.tuples(st.sampled_from(OURS), st.integers(-1, 3)).map(
        lambda pair: f"/admin/intercom_bridge/{pair[0]}/{pair[1]}/change/"
    ),
)


# No secret: a typed secret must not appear elsewhere, and here the same words appear everywhere.
FORM_NAMES = [
    "workspace_id",
    "scope",
    "time_zone",
    "region",
    "of-itop",
    "of-profile",
    "itop-url",
    "form_attributes",
    "attributes_mapping",
    "defaults",
    "action",
    "_selected_action",
    "url",
]
TYPED = st.dictionaries(st.sampled_from(FORM_NAMES), NASTY, max_size=6)


@pytest.fixture
def admin_of_all(db: None) -> Client:
    """With a row of each kind that an admin makes; no iTop answers at its address."""
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    Workspace.objects.create(
        workspace_id="abcd1234",
        itop=ItopInstance.objects.create(name="Ours", url="http://127.0.0.1:9", token="s3cr3t-token"),
        profile=TicketProfile.objects.create(name="Requests"),
    )
    return client


@settings(suppress_health_check=list(HealthCheck))
@given(page=PAGES, query=QUERIES)
def test_no_query_string_causes_a_server_error(
    admin_of_all: Client, page: str, query: dict[str, str]
) -> None:
    assert admin_of_all.get(page, _sendable(query)).status_code < 500


@settings(suppress_health_check=list(HealthCheck))
@given(page=PAGES, typed=QUERIES, more=TYPED)
def test_no_form_value_causes_a_server_error(
    admin_of_all: Client, page: str, typed: dict[str, str], more: dict[str, str]
) -> None:
    assert admin_of_all.post(page, _sendable(typed | more)).status_code < 500


def _sendable(values: dict[str, str]) -> dict[str, Any]:
    """As a browser could send it: half characters are none."""
    return {
        name.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for name, value in values.items()
    }
