"""The form of a ticket profile. It checks codes and values against the ticket class if that class is known."""

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
        """Return the form field for a model's column, with its label, help text and default."""
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
    """The form of a ticket profile, which compares the codes and values in it with the data model.

    If iTop's data model was imported, the profile is compared with that, otherwise with a standard iTop. An unknown
    code or value is an error. If the ticket class is unknown, any code is accepted.
    """

    instance: TicketProfile
    fill_in = forms.BooleanField(
        required=False,
        label=FILL_IN,
        help_text="When you save, codes that the ticket class does not have are replaced by matching codes. Attributes "
        "that a new ticket requires are added to the create form. Valid codes are kept.",
    )
    accept_other = forms.BooleanField(
        required=False,
        label=ACCEPT_OTHER,
        help_text="Select this only if your iTop is customized and its data model was not imported. Codes and values "
        "are then saved without a check.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The names of the fields that were corrected automatically.
        self.corrected_fields: list[str] = []
        # Sentences about values that are allowed but probably wrong.
        self.warnings: list[str] = []

    def full_clean(self) -> None:
        """Validate the fields, then compare the codes with the data model.

        The comparison needs valid lists of codes. The model's validation ensures that, so it must run first.
        """
        super().full_clean()
        if self.is_bound and not self.errors:
            self._compare_with_data_model()

    def _compare_with_data_model(self) -> None:
        profile = self.instance
        imported_classes = ImportedClass.objects.for_profile(profile)
        imported_names = set(imported_classes.values_list("name", flat=True))
        is_builtin = not imported_names
        if is_builtin:
            builtin_class = BUILTIN_CLASSES.get(profile.ticket_class)
            classes = [builtin_class] if builtin_class else []
        else:
            # There may be several classes with this name, one for each iTop.
            rows = imported_classes.filter(name=profile.ticket_class).select_related("itop")
            classes = [decode(row) for row in rows]
        if not classes:
            self.warnings.append(_not_checked(profile.ticket_class, imported_names))
        elif not (is_builtin and self.cleaned_data["accept_other"]):
            checks = [ProfileCheck(profile, ticket_class) for ticket_class in classes]
            self._apply_checks(checks, is_builtin=is_builtin)

    def _apply_checks(self, checks: Sequence[ProfileCheck], *, is_builtin: bool) -> None:
        """Correct the profile if the user has asked for it, and add errors and warnings about what does not match.

        `is_builtin` is whether the checks compare with a standard iTop, because no data model was imported.
        """
        fill_in: bool = self.cleaned_data["fill_in"]
        if fill_in:
            # Correct first, because `autofill` changes the profile that `mistakes` and `missing` read.
            self.corrected_fields = list(dict.fromkeys(name for check in checks for name in check.autofill()))
        mistakes: dict[str, list[str]] = {}
        for check in checks:
            for field_name, sentences in check.mistakes().items():
                # Several checks may find the same mistake. Keep each sentence once.
                mistakes[field_name] = list(dict.fromkeys([*mistakes.get(field_name, []), *sentences]))
        for field_name, sentences in mistakes.items():
            self.add_error(field_name, sentences)
        if mistakes and is_builtin:
            self.add_error(
                None,
                "No data model of your iTop was imported, so the profile was compared with a standard iTop. If your "
                f"iTop is different, import its data model, or select “{ACCEPT_OTHER}” and save again.",
            )
        if mistakes and not fill_in:
            self.add_error(None, f"Correct the marked fields, or select “{FILL_IN}” and save again.")
        missing_codes = dict.fromkeys(code for check in checks for code in check.missing())
        if missing_codes:
            self.warnings.append(missing_from_form(missing_codes, self.instance.ticket_class))


def _not_checked(ticket_class: str, imported_names: Collection[str]) -> str:
    """Return the warning about an unknown ticket class. `imported_names` is empty if no data model was imported."""
    if imported_names:
        return (
            f"{ticket_class} is not one of the imported classes ({', '.join(sorted(imported_names))}), so its codes "
            f"were not checked.{did_you_mean(ticket_class, imported_names)}"
        )
    return (
        f"{ticket_class} is not a ticket class of a standard iTop, and no data model was imported, so its codes were "
        f"not checked.{did_you_mean(ticket_class, BUILTIN_CLASSES)}"
    )
