"""A ticket profile's form: its codes are held against the class as the data model has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms

from intercom_bridge.datamodel.fit import Fit, meant
from intercom_bridge.models import LearnedClass, TicketProfile

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[TicketProfile]
else:
    ModelForm = forms.ModelForm

FILL_IN = "Fill in what fits"


class TicketProfileForm(ModelForm):
    """Where an iTop's data model was imported, an unknown code is an error; where none was, any code may be right.

    `filled_in` are the fields that the person let us correct; `warnings` what is no error, but not right either.
    """

    fill_in = forms.BooleanField(
        required=False,
        label=FILL_IN,
        help_text="Codes that the imported data model does not have are replaced by what fits the class, and the form "
        "gets what a new ticket needs. All that fits stays.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filled_in: list[str] = []
        self.warnings: list[str] = []

    def full_clean(self) -> None:
        """The model's own checks come first: they make sure that the lists are lists of codes."""
        super().full_clean()
        if self.is_bound and not self.errors:
            self._hold_against_the_data_model()

    def _hold_against_the_data_model(self) -> None:
        profile = self.instance
        fill_in: bool = self.cleaned_data["fill_in"]
        everything = LearnedClass.objects.for_profile(profile)
        learned = list(everything.filter(name=profile.ticket_class).select_related("itop"))
        fits = [Fit(profile, one.ticket_class()) for one in learned]
        if fill_in:
            self.filled_in = list(dict.fromkeys(name for fit in fits for name in fit.adapt()))
        mistakes: dict[str, list[str]] = {}
        for fit in fits:
            for name, sentences in fit.mistakes().items():
                mistakes[name] = list(dict.fromkeys([*mistakes.get(name, []), *sentences]))
        for name, sentences in mistakes.items():
            self.add_error(name, sentences)
        if mistakes and not fill_in:
            self.add_error(
                None, f"Correct what does not fit the data model, or tick “{FILL_IN}” and save again."
            )
        lacking = dict.fromkeys(code for fit in fits for code in fit.lacking())
        if lacking:
            self.warnings.append(
                f"Its form does not ask for {', '.join(lacking)}, which a new {profile.ticket_class} needs."
            )
        names = set(everything.values_list("name", flat=True))
        if names and not learned:
            self.warnings.append(
                f"{profile.ticket_class} is none of the classes learned of a data model, so its codes were not "
                f"checked.{meant(profile.ticket_class, names)} Learned: {', '.join(sorted(names))}."
            )
