"""The suggested title: what the conversation is about, not how it begins."""

from __future__ import annotations

import time
from typing import Any

import pytest

from intercom_bridge.tickets.creation.title import suggest_title, without_greeting
from tests.teammate import Teammate, conversation, part

FORM = "Create a ticket"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Good morning! My laptop does not start any more. It is new.", "My laptop does not start any more"),
        ("Hi Ada,\n\nthe printer is on fire", "The printer is on fire"),
        ("Hello Mr. Smith, my screen flickers.", "My screen flickers"),
        ("hello my screen flickers. thanks", "My screen flickers. thanks"),
        ("Hello my screen flickers.", "My screen flickers"),
        ("Hi there, hello! Can you reset my password?", "Can you reset my password?"),
        ("Dear support team,\nI cannot log in.", "I cannot log in"),
        ("Bonjour Madame, mon imprimante ne marche plus. Merci", "Mon imprimante ne marche plus"),
        ("Bonjour à tous, l'écran est noir", "L'écran est noir"),
        ("Sehr geehrte Damen und Herren,\nmein Drucker ist defekt.", "Mein Drucker ist defekt"),
        ("Guten Tag Frau Müller, der VPN-Zugang geht nicht.", "Der VPN-Zugang geht nicht"),
        ("Grüß Gott! Bildschirm schwarz seit heute", "Bildschirm schwarz seit heute"),
        ("Buenos días, la impresora no funciona.", "La impresora no funciona"),
        ("¿Puede alguien ayudarme con el correo? Gracias", "¿Puede alguien ayudarme con el correo?"),
        (
            "Please help! The printer on floor 2 is on fire. Now.",
            "Please help! The printer on floor 2 is on fire",
        ),
        (
            "The printers, e.g. No. 5 on floor 2, are out. All.",
            "The printers, e.g. No. 5 on floor 2, are out",
        ),
        ("Version 2.1 does not start", "Version 2.1 does not start"),
        ("Hi-fi speaker broken", "Hi-fi speaker broken"),
        ("Hello iPhone owners", "iPhone owners"),
        ("Hello", "Hello"),
        ("打印机无法打印文件而且屏幕是黑色的。请帮忙。", "打印机无法打印文件而且屏幕是黑色的。"),
        ("", ""),
    ],
)
def test_the_title_is_the_first_sentence_without_the_greeting(text: str, title: str) -> None:
    assert suggest_title(text, 80) == title


def test_a_long_sentence_is_cut_at_a_word() -> None:
    title = suggest_title("Good morning! " + "My laptop does not start any more " * 5, 80)
    assert title.startswith("My laptop does not start") and title.endswith("…") and len(title) <= 80


@pytest.mark.parametrize("text", ["A" * 200_000, "Hello " * 50_000, "Hi A" + ".A" * 100_000, "a. " * 70_000])
def test_the_title_of_a_huge_text_takes_little_time(text: str) -> None:
    started = time.process_time()
    assert len(suggest_title(text, 80)) <= 80
    assert time.process_time() - started < 0.2


def said(*bodies: str, **more: Any) -> dict[str, Any]:
    first, *rest = bodies
    talk = conversation(*(part(37358198341 + index, body) for index, body in enumerate(rest)), **more)
    talk["source"]["body"] = first
    return talk


def test_a_message_that_is_only_a_greeting_is_passed_over(teammate: Teammate) -> None:
    teammate.conversation = said("<p>Hello!</p>", "<p>My screen flickers. Since today.</p>")
    teammate.open().click(FORM)
    assert teammate.field("Title")["value"] == "My screen flickers"
    assert teammate.field("Description")["value"] == "My screen flickers. Since today."
    assert without_greeting("Hello!") == ""


def test_only_greetings_are_better_than_nothing(teammate: Teammate) -> None:
    teammate.conversation = said("<p>Hello!</p>")
    assert teammate.open().click(FORM).field("Title")["value"] == "Hello!"


def test_the_conversations_title_comes_first(teammate: Teammate) -> None:
    teammate.conversation = said("<p>Hello! My screen flickers.</p>", title="Screen of Alice")
    assert teammate.open().click(FORM).field("Title")["value"] == "Screen of Alice"
    teammate.conversation = said("<p>Hello! My screen flickers.</p>")
    teammate.conversation["source"]["subject"] = "<p>Flickering</p>"
    assert teammate.open().click(FORM).field("Title")["value"] == "Flickering"
