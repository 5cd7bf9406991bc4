"""Admin users with few permissions."""

from __future__ import annotations

from django.contrib.auth.models import Permission, User
from django.test import Client


def viewer(*codenames: str) -> Client:
    """Return the browser of a logged-in user of the admin who has these permissions only."""
    user = User.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(user)
    return browser
