"""The part of an iTop's page about changes in iTop: the state of polling, and the secret of push requests."""

from collections.abc import Callable

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from intercom_bridge.models import ItopInstance, ItopPoll, TicketSnapshot

from .base import ModelAdmin
from .display import datetime_text, warning

CHANGES_FIELDS = ("polling", "followed_tickets", "push")


class ItopChangesAdmin(ModelAdmin):
    """The part of the iTop admin with the state of polling, and with a button for the push secret."""

    @admin.display(description="polling")
    def polling(self, itop: ItopInstance) -> SafeString | str:
        """Return a sentence about the result of the last poll."""
        poll = ItopPoll.objects.filter(itop=itop).first() if itop.pk else None
        if poll is None or poll.polled_at is None:
            return "Not polled yet. Polling begins when a ticket is linked."
        if not poll.reason_code:
            return f"OK, last poll {datetime_text(poll.polled_at)}"
        last_success = (
            f"Last successful poll {datetime_text(poll.succeeded_at)}." if poll.succeeded_at else ""
        )
        times = "once" if poll.failures_in_a_row < 2 else f"{poll.failures_in_a_row} times in a row"
        reason = self.reason(poll.reason_code, poll.reason_detail)
        return warning(
            f"Failed {times}: {reason} {last_success} Nothing is lost, because the next successful poll finds "
            "all changes."
        )

    @admin.display(description="followed tickets")
    def followed_tickets(self, itop: ItopInstance) -> str:
        if itop.pk is None:
            return "0"
        snapshots = TicketSnapshot.objects.filter(ticket__itop=itop)
        polled_count = snapshots.filter(poll_at__isnull=False).count()
        dropped_count = snapshots.filter(poll_at=None).count()
        if not dropped_count:
            return str(polled_count)
        return f"{polled_count}. Not polled any more, because closed long ago: {dropped_count}"

    @admin.display(description="push (optional)")
    def push(self, itop: ItopInstance) -> str:
        if not itop.push_secret:
            return "Not set up. Changes are found by polling."
        if not itop.push_secret.is_readable:
            return warning(
                "The push secret cannot be decrypted, because it is encrypted with another key. Create a new secret."
            )
        if itop.push_received_at is None:
            return f"Set up, but no push was received yet. Address: {_push_url(itop)}"
        return f"Last push {datetime_text(itop.push_received_at)}"

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        return {**super().row_pages(), "push_secret": require_POST(self.new_push_secret)}

    def new_push_secret(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Create a push secret and display it. No other page displays it."""
        itop = self.changeable_row(request, pk)
        is_replaced = bool(itop.push_secret)
        secret = itop.renew_push_secret()
        history = "Replaced the push secret." if is_replaced else "Created a push secret."
        self.log_change(request, itop, history)
        return self.page(
            request,
            "push_secret.html",
            "Push secret",
            original=itop,
            header=f"Authorization: Bearer {secret}",
            address=_push_url(itop),
            is_replaced=is_replaced,
        )


def _push_url(itop: ItopInstance) -> str:
    return f"{settings.PUBLIC_URL}{reverse('webhooks-itop', args=[itop.public_id])}"
