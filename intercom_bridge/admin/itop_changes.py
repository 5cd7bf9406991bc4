"""The part of an iTop's page about changes that come back: how polling goes, and the secret of push requests."""

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
    """An admin of iTops with the state of polling, and a button for the push secret."""

    @admin.display(description="polling")
    def polling(self, itop: ItopInstance) -> SafeString | str:
        """Return how the last poll ended, in words."""
        poll = ItopPoll.objects.filter(itop=itop).first() if itop.pk else None
        if poll is None or poll.polled_at is None:
            return "Not polled yet. Polling begins when a ticket is linked."
        if not poll.reason_code:
            return f"OK, last poll {datetime_text(poll.polled_at)}"
        last = f"Last successful poll {datetime_text(poll.succeeded_at)}." if poll.succeeded_at else ""
        times = "once" if poll.failures_in_a_row < 2 else f"{poll.failures_in_a_row} times in a row"
        reason = self.reason(poll.reason_code, poll.reason_detail)
        return warning(
            f"Failed {times}: {reason} {last} Nothing is lost: the next successful poll finds all changes."
        )

    @admin.display(description="followed tickets")
    def followed_tickets(self, itop: ItopInstance) -> str:
        if itop.pk is None:
            return "0"
        followed = TicketSnapshot.objects.filter(ticket__itop=itop)
        count = followed.filter(poll_at__isnull=False).count()
        dropped = followed.filter(poll_at=None).count()
        return f"{count}, and {dropped} that were closed long ago" if dropped else str(count)

    @admin.display(description="push (optional)")
    def push(self, itop: ItopInstance) -> str:
        if not itop.push_secret:
            return "Not set up. Changes are found by polling."
        if not itop.push_secret.is_readable:
            return warning("The secret is encrypted under another key. Create a new one.")
        if itop.push_received_at is None:
            return f"Set up, but nothing was received yet. Address: {_address(itop)}"
        return f"Last push {datetime_text(itop.push_received_at)}"

    def row_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        return {**super().row_pages(), "push_secret": require_POST(self.new_push_secret)}

    def new_push_secret(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Create a secret and display it, only in this response."""
        itop = self.changeable_row(request, pk)
        is_replaced = bool(itop.push_secret)
        secret = itop.renew_push_secret()
        self.log_change(
            request, itop, "Replaced the push secret." if is_replaced else "Created a push secret."
        )
        return self.page(
            request,
            "push_secret.html",
            "Push secret",
            original=itop,
            header=f"Authorization: Bearer {secret}",
            address=_address(itop),
            is_replaced=is_replaced,
        )


def _address(itop: ItopInstance) -> str:
    return f"{settings.PUBLIC_URL}{reverse('webhooks-itop', args=[itop.public_id])}"
