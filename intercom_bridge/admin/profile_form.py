"""The form of a ticket profile. It checks codes and values against the ticket class, as far as it is known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Self

from django import forms
from django.db import models
from django.utils.text import capfirst

from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.datamodel.lookup import decode
from intercom_bridge.datamodel.profile_check import ProfileCheck, did_you_mean, missing_from_form
from intercom_bridge.models import ImportedClass, TicketProfile

FILL_IN = "Correct automatically"
ACCEPT_OTHER = "Accept other codes"


class CodesFormField(forms.Field):
    """A JSON list of codes, entered one per line or separated by commas."""

    widget = forms.Textarea(attrs={"rows": 8, "cols": 40, "class": "bridge-codes", "spellcheck": "false"})

    @classmethod
    def for_column(cls, column: models.Field[Any, Any]) -> Self:
        """Return the field for a column with such a list."""
        return cls(
            required=not column.blank,
            label=capfirst(column.verbose_name),
            help_text=column.help_text,
            initial=column.get_default(),
        )

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(str(code) for code in value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        lines = str(value or "").replace(",", "\n").split("\n")
        return [line.strip() for line in lines if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(data) != (initial or []))


class TicketProfileForm(forms.ModelForm):  # type: ignore[type-arg] # generic in the stubs only
    """An unknown code or value is an error if the class is known: imported, or else that of a standard iTop.

    `filled_in` names the fields that were corrected at the user's request, `warnings` what is suspicious but allowed.
    """

    instance: TicketProfile
    fill_in = forms.BooleanField(
        required=False,
        label=FILL_IN,
        help_text="Replaces codes that the ticket class does not have with matching ones, and adds the attributes that "
        "a new ticket requires to the form. Valid codes are kept.",
    )
    accept_other = forms.BooleanField(
        required=False,
        label=ACCEPT_OTHER,
        help_text="Select this only if your iTop is customized and its data model was not imported: codes and values "
        "that a standard iTop does not have are saved without a check.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filled_in: list[str] = []
        self.warnings: list[str] = []

    def full_clean(self) -> None:
        """Validate the fields, then compare them with the data model. The model's checks ensure lists of codes."""
        super().full_clean()
        if self.is_bound and not self.errors:
            self._compare_with_data_model()

    def _compare_with_data_model(self) -> None:
        profile = self.instance
        imported = ImportedClass.objects.for_profile(profile)
        names = set(imported.values_list("name", flat=True))
        rows = imported.filter(name=profile.ticket_class).select_related("itop")
        classes = [decode(row) for row in rows]
        if not names and (builtin := BUILTIN_CLASSES.get(profile.ticket_class)):
            classes = [] if self.cleaned_data["accept_other"] else [builtin]
        elif not classes:
            self.warnings.append(_unchecked(profile.ticket_class, names))
        self._compare_with(
            [ProfileCheck(profile, ticket_class) for ticket_class in classes], is_builtin=not names
        )

    def _compare_with(self, checks: Sequence[ProfileCheck], *, is_builtin: bool) -> None:
        fill_in: bool = self.cleaned_data["fill_in"]
        if fill_in:
            self.filled_in = list(dict.fromkeys(name for check in checks for name in check.autofill()))
        mistakes: dict[str, list[str]] = {}
        for check in checks:
            for name, sentences in check.mistakes().items():
                mistakes[name] = list(dict.fromkeys([*mistakes.get(name, []), *sentences]))
        for name, sentences in mistakes.items():
            self.add_error(name, sentences)
        if mistakes and is_builtin:
            self.add_error(
                None,
                "No data model of your iTop was imported, so the profile was compared with a standard iTop. If your "
                f"iTop is different, import its data model, or select “{ACCEPT_OTHER}” and save again.",
            )
        if mistakes and not fill_in:
            self.add_error(None, f"Correct the marked fields, or select “{FILL_IN}” and save again.")
        if missing := dict.fromkeys(code for check in checks for code in check.missing()):
            self.warnings.append(missing_from_form(missing, self.instance.ticket_class))


def _unchecked(ticket_class: str, imported: Collection[str]) -> str:
    """Return a sentence about a class that is neither imported nor, without an import, that of a standard iTop."""
    if imported:
        return (
            f"{ticket_class} is not one of the imported classes ({', '.join(sorted(imported))}), so its codes were not "
            f"checked.{did_you_mean(ticket_class, imported)}"
        )
    return (
        f"{ticket_class} is not a ticket class of a standard iTop, and no data model was imported, so its codes were "
        f"not checked.{did_you_mean(ticket_class, BUILTIN_CLASSES)}"
    )
