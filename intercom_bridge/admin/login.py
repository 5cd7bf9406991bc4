"""Log-ins: how user names are normalized, and how many passwords are checked at once."""

import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest

# How many log-ins may wait while a password is being checked.
MAX_WAITING = 2
MAX_WAIT_SECONDS = 3.0


def normalized_username(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """Return the user name by which failed log-ins are counted. All spellings of a name have the same result.

    django-axes calls this function. Without it, the attempts with each spelling of a name would be counted separately.
    """
    name = (credentials or request.POST).get("username") or ""
    # Normalize twice, because casefolding can produce characters that are not normalized.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", str(name)).casefold())


class BusyError(Exception):
    """Too many log-ins are waiting for the check of their password."""


class PasswordChecks:
    """Let the process check one password at a time, and pause after each check for as long as the check took.

    Hashing a password takes much CPU time by design. Without a limit, someone who guesses passwords would delay
    webhooks by seconds.
    """

    def __init__(self) -> None:
        self._check_lock = threading.Lock()
        # One place for the running check, and MAX_WAITING places for those that wait.
        self._places = threading.BoundedSemaphore(MAX_WAITING + 1)
        # The end of the pause, by the monotonic clock.
        self._paused_until = 0.0

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Run the block when no other check is running and the pause after the last check is over.

        Raise BusyError if MAX_WAITING log-ins are waiting already, or after waiting for MAX_WAIT_SECONDS.
        """
        with ExitStack() as on_exit:
            if not self._places.acquire(blocking=False):
                raise BusyError
            on_exit.callback(self._places.release)
            if not self._check_lock.acquire(timeout=MAX_WAIT_SECONDS):
                raise BusyError
            on_exit.callback(self._check_lock.release)
            rest_of_pause = max(0.0, self._paused_until - time.monotonic())
            time.sleep(min(rest_of_pause, MAX_WAIT_SECONDS))
            began = time.monotonic()
            try:
                yield
            finally:
                ended = time.monotonic()
                self._paused_until = ended + (ended - began)


password_checks = PasswordChecks()


class LiteralUsernameField(forms.CharField):
    """A field for a user name. Unlike Django's field, it does not turn full-width letters into ASCII letters."""

    def to_python(self, value: Any) -> Any:
        """Return the name with composed letters (NFC). Some keyboards send an accent as a separate character."""
        return unicodedata.normalize("NFC", super().to_python(value) or "")

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        """Return the attributes that Django's UsernameField sets."""
        return {**super().widget_attrs(widget), "autocapitalize": "none", "autocomplete": "username"}


class LoginForm(AdminAuthenticationForm):
    """The admin's log-in form."""

    username = LiteralUsernameField(widget=forms.TextInput(attrs={"autofocus": True}))

    def clean(self) -> dict[str, Any]:
        """Check the password. If too many log-ins are waiting, refuse without a check.

        Such a refusal does not count as a failed attempt.
        """
        try:
            with password_checks.one_at_a_time():
                return super().clean()
        except BusyError:
            raise forms.ValidationError(
                "Too many people are logging in. Try again in a few seconds.", code="busy"
            ) from None
