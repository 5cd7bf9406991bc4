"""Drafts of the create form. A teammate has one draft in a conversation, until the ticket is created."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from intercom_bridge.models import FormDraft
from intercom_bridge.models.form_draft import MAX_AGE, FormDraftQuerySet
from intercom_bridge.tickets.context import PanelContext
from intercom_bridge.tickets.conversation import get_or_create_conversation

from .submit import is_submitted


def find_draft(context: PanelContext) -> FormDraft | None:
    """Return this teammate's draft in this conversation, or None. A draft expires after a day (MAX_AGE)."""
    return _drafts(context).filter(saved_at__gte=timezone.now() - MAX_AGE).first()


def save_draft(context: PanelContext, form: Mapping[str, Any]) -> None:
    """Save the form as this teammate's draft. It replaces an earlier draft.

    Save nothing if the form was submitted, because its TicketCreation contains the input. Save nothing either if
    Intercom did not name the teammate, because another teammate could then see the draft.
    """
    admin_id = context.request.admin.id[:64]
    if not admin_id or is_submitted(context, str(form["key"])):
        return
    FormDraft.objects.update_or_create(
        conversation=get_or_create_conversation(context),
        admin_id=admin_id,
        defaults={"form": dict(form), "saved_at": timezone.now()},
    )


def discard_draft(context: PanelContext) -> None:
    _drafts(context).delete()


def _drafts(context: PanelContext) -> FormDraftQuerySet:
    """Return the teammate's draft in this conversation. Return none if Intercom did not name the teammate."""
    drafts: FormDraftQuerySet = FormDraft.objects.filter(
        conversation__workspace=context.workspace,
        conversation__conversation_id=context.request.conversation.id,
        admin_id=context.request.admin.id[:64],
    ).exclude(admin_id="")
    return drafts
