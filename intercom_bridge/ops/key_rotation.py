"""Re-encrypt stored secrets with the newest key. Each one is saved at once, so an interrupted run can be repeated."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.apps import apps
from django.db import models

from intercom_bridge.models import Secret
from intercom_bridge.models.encryption import SecretField


@dataclass(frozen=True)
class StoredSecret:
    """A secret in a column of a row. `str()` describes it: "workspace Acme (abcd1234), access token"."""

    row: models.Model
    column: SecretField

    @property
    def secret(self) -> Secret:
        secret: Secret = getattr(self.row, self.column.attname)
        return secret

    def renew(self) -> bool:
        """Encrypt the secret with the newest key. Return False if it was replaced after it was read."""
        name, secret = self.column.attname, self.secret
        unchanged_row = type(self.row)._default_manager.filter(pk=self.row.pk, **{name: secret})
        return bool(unchanged_row.update(**{name: secret.renewed()}))

    def __str__(self) -> str:
        # verbose_name may contain the invisible character of models.itop_instance.ITOP.
        return f"{self.row._meta.verbose_name} {self.row}, {self.column.verbose_name}".replace("\u2060", "")


@dataclass
class Rotation:
    """How many secrets a key rotation re-encrypted, how many had the newest key, and which no key decrypts."""

    renewed: int = 0
    current: int = 0
    unreadable: list[StoredSecret] = field(default_factory=list)


def stored_secrets() -> Iterator[StoredSecret]:
    """Yield all non-empty secrets of all tables."""
    for model in apps.get_app_config("intercom_bridge").get_models():
        columns = [column for column in model._meta.concrete_fields if isinstance(column, SecretField)]
        if not columns:
            continue
        for row in model._default_manager.order_by("pk"):
            for column in columns:
                stored = StoredSecret(row, column)
                if stored.secret:
                    yield stored


def rotate_keys(*, dry_run: bool = False) -> Rotation:
    """Encrypt every stored secret with the first of FIELD_ENCRYPTION_KEYS. If `dry_run` is true, only count.

    Raise ImproperlyConfigured if no valid key is set.
    """
    rotation = Rotation()
    for stored in stored_secrets():
        if stored.secret.is_current:
            rotation.current += 1
        elif not stored.secret.is_readable:
            rotation.unreadable.append(stored)
        elif dry_run or stored.renew():
            rotation.renewed += 1
    return rotation
