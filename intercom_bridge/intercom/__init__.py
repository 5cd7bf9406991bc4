"""What Intercom says and hears: signatures, payloads, bodies of messages, its REST. Imports no model."""
