from .attribute import Attribute, Kind, TicketClass, Value

__all__ = ["Attribute", "Kind", "TicketClass", "Value"]
