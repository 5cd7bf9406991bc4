"""The sentence with which iTop refuses a value. It is in the account's language; since 3.0, it contains the label.

The reason at its end, such as "Null not allowed", is English in every language and version.
"""

from __future__ import annotations

from .datamodel import Attribute

ENGLISH = "EN US"
_WITHOUT_LABEL = "Unexpected value for attribute '{code}': {reason}"  # 2.7, in every language
_IN_ENGLISH = "Unexpected value for attribute '{label}' ({code}) : {reason}"
# Language of an account -> the first version with a translation, and the translation. Older versions use English.
_TRANSLATIONS = {
    "FR FR": ("3.0", "Valeur de l'attribut incorrecte '{label}' ({code}) : {reason}"),
    "HU HU": ("3.0", "A {label} ({code}) attribútum nem várt értéke : {reason}"),
    "DE DE": ("3.1", "Ungültiger Attributwert '{label}' ({code}) : {reason}"),
    "PL PL": ("3.1", "Nieoczekiwana wartość atrybutu '{label}' ({code}) : {reason}"),
    "IT IT": ("3.2", "Valore inatteso per l'attributo '{label}' ({code}): {reason}"),
    "NL NL": ("3.2", "Onverwachte waarde voor attribuut '{label}' ({code}) : {reason}"),
    "ZH CN": ("3.2", "属性 '{label}' ({code})的未知值: {reason}"),
}
LANGUAGES = (ENGLISH, *_TRANSLATIONS)
_LABELS = {
    "FR FR": {"title": "Titre", "urgency": "Urgence", "origin": "Origine"},
    "HU HU": {"title": "Tárgy", "description": "Leírás", "urgency": "Sürgősség", "origin": "Eredet"},
    "DE DE": {
        "title": "Titel",
        "description": "Beschreibung",
        "urgency": "Dringlichkeit",
        "origin": "Herkunft",
    },
    "PL PL": {"title": "Tytuł", "description": "Opis", "urgency": "Pilność"},
    "IT IT": {"title": "Titolo", "description": "Descrizione", "urgency": "Urgenza", "origin": "Origine"},
    "NL NL": {"title": "Titel", "description": "Omschrijving", "urgency": "Urgentie", "origin": "Oorsprong"},
    "ZH CN": {"title": "标题", "description": "描述", "urgency": "紧急度", "origin": "来源"},
}


def refused_value(version: str, language: str, attribute: Attribute, reason: str) -> str:
    """Return the sentence with which this version refuses a value to an account of this language."""
    if version < "3.0":
        sentence = _WITHOUT_LABEL
    else:
        since, translation = _TRANSLATIONS.get(language, ("", _IN_ENGLISH))
        sentence = translation if version >= since else _IN_ENGLISH
    label = _LABELS.get(language, {}).get(attribute.code, attribute.label)
    return sentence.format(label=label, code=attribute.code, reason=reason)
