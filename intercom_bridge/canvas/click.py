"""What was clicked. A component's id is the only thing that comes back with a click, so it says it all."""

from __future__ import annotations

from dataclasses import dataclass

MOST_CHARACTERS = 300


@dataclass(frozen=True)
class Click:
    """`ticket:UserRequest:12` is the verb "ticket" with two arguments."""

    verb: str
    arguments: tuple[str, ...] = ()

    @classmethod
    def read(cls, component_id: str) -> Click:
        """Any text at all; what makes no sense gets the verb "" and leads home."""
        verb, *arguments = component_id[:MOST_CHARACTERS].split(":")
        return cls(verb, tuple(arguments))

    def __str__(self) -> str:
        return ":".join((self.verb, *self.arguments))

    def argument(self, position: int) -> str:
        return self.arguments[position] if position < len(self.arguments) else ""

    def number(self, position: int, default: int = 0) -> int:
        """A positive number among the arguments."""
        text = self.argument(position)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


def click(verb: str, *arguments: object) -> str:
    """The id of a component that leads somewhere: the inverse of `Click.read`."""
    return str(Click(verb, tuple(str(argument) for argument in arguments)))
