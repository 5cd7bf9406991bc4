"""iTop's REST/JSON as Python."""
