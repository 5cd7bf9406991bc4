"""Intercom's formats and its REST API: signatures, payloads, message bodies. Imports no model."""
