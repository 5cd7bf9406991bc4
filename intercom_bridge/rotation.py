"""Stored secrets, from older encryption keys to the newest: row by row, so that what was interrupted goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.apps import apps
from django.db import models

from .models import Secret
from .models.encryption import SecretField


@dataclass(frozen=True)
class StoredSecret:
    """One secret where it is stored. Its text is what a person calls it: "workspace Acme (abcd1234), access token"."""

    row: models.Model
    column: SecretField

    @property
    def secret(self) -> Secret:
        secret: Secret = getattr(self.row, self.column.attname)
        return secret

    def renew(self) -> bool:
        """Puts it under the newest key; False when somebody entered another one meanwhile, which is as good."""
        name, secret = self.column.attname, self.secret
        here = type(self.row)._default_manager.filter(pk=self.row.pk, **{name: secret})
        return bool(here.update(**{name: secret.renewed()}))

    def __str__(self) -> str:
        return f"{self.row._meta.verbose_name} {self.row}, {self.column.verbose_name}".replace("\u2060", "")


@dataclass
class Rotation:
    """What became of the stored secrets."""

    renewed: int = 0
    current: int = 0
    unreadable: list[StoredSecret] = field(default_factory=list)


def stored_secrets() -> Iterator[StoredSecret]:
    """All that are set, of all tables."""
    for model in apps.get_app_config("intercom_bridge").get_models():
        columns = [column for column in model._meta.concrete_fields if isinstance(column, SecretField)]
        for row in model._default_manager.order_by("pk") if columns else ():
            for column in columns:
                if (stored := StoredSecret(row, column)).secret:
                    yield stored


def rotate_keys(*, dry_run: bool = False) -> Rotation:
    """Puts every stored secret under the first of FIELD_ENCRYPTION_KEYS; those that are stay as they are.

    With `dry_run` it only looks. Raises ImproperlyConfigured when no usable key is set.
    """
    rotation = Rotation()
    for stored in stored_secrets():
        if stored.secret.is_current:
            rotation.current += 1
        elif not stored.secret.is_readable:
            rotation.unreadable.append(stored)
        else:
            rotation.renewed += dry_run or stored.renew()
    return rotation
