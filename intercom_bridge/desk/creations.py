"""What presses of Create came to in a conversation."""

from __future__ import annotations

from intercom_bridge.models import Submission, Workspace
from intercom_bridge.models.submission import SubmissionQuerySet


def creations_in(workspace: Workspace, conversation_id: str) -> SubmissionQuerySet:
    """All presses of Create in this conversation, newest first."""
    found: SubmissionQuerySet = Submission.objects.filter(
        conversation__workspace=workspace, conversation__conversation_id=conversation_id
    ).order_by("-pk")
    return found


def created(presses: SubmissionQuerySet) -> SubmissionQuerySet:
    """Those that made a ticket which is still known."""
    return presses.filter(state=Submission.State.CREATED, ticket__isnull=False).select_related("ticket")


def named_by_itop(presses: SubmissionQuerySet) -> frozenset[str]:
    """The attributes that iTop's refusals of these presses were about."""
    refused = presses.filter(state=Submission.State.REFUSED).values_list("problems", flat=True)
    return frozenset(str(problem[0]) for problems in refused for problem in problems if problem)
