"""The form of a ticket profile. It checks attribute codes against the imported data model."""

from typing import TYPE_CHECKING, Any

from django import forms

from intercom_bridge.datamodel.lookup import decode
from intercom_bridge.datamodel.profile_check import ProfileCheck, did_you_mean, missing_from_form
from intercom_bridge.models import ImportedClass, TicketProfile

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[TicketProfile]
else:
    ModelForm = forms.ModelForm

FILL_IN = "Correct automatically"


class CodesFormField(forms.Field):
    """A JSON list of codes, entered one per line or separated by commas."""

    widget = forms.Textarea(attrs={"rows": 8, "cols": 40, "class": "bridge-codes", "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(str(code) for code in value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        lines = str(value or "").replace(",", "\n").split("\n")
        return [line.strip() for line in lines if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(data) != (initial or []))


class TicketProfileForm(ModelForm):
    """An unknown code is an error if the class was imported. Without a data model any code is accepted.

    `filled_in` names the fields that were corrected at the user's request, `warnings` what is suspicious but allowed.
    """

    fill_in = forms.BooleanField(
        required=False,
        label=FILL_IN,
        help_text="Replaces codes that the imported data model does not have with matching ones, and adds the "
        "attributes that a new ticket requires to the form. Valid codes are kept.",
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
        fill_in: bool = self.cleaned_data["fill_in"]
        imported = ImportedClass.objects.for_profile(profile)
        matching = list(imported.filter(name=profile.ticket_class).select_related("itop"))
        checks = [ProfileCheck(profile, decode(row)) for row in matching]
        if fill_in:
            self.filled_in = list(dict.fromkeys(name for check in checks for name in check.autofill()))
        mistakes: dict[str, list[str]] = {}
        for check in checks:
            for name, sentences in check.mistakes().items():
                mistakes[name] = list(dict.fromkeys([*mistakes.get(name, []), *sentences]))
        for name, sentences in mistakes.items():
            self.add_error(name, sentences)
        if mistakes and not fill_in:
            self.add_error(None, f"Correct these codes, or select “{FILL_IN}” and save again.")
        if missing := dict.fromkeys(code for check in checks for code in check.missing()):
            self.warnings.append(missing_from_form(missing, profile.ticket_class))
        names = set(imported.values_list("name", flat=True))
        if names and not matching:
            self.warnings.append(
                f"{profile.ticket_class} is not one of the imported classes ({', '.join(sorted(names))}), so its "
                f"codes were not checked.{did_you_mean(profile.ticket_class, names)}"
            )
