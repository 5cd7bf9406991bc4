"""The files in deploy/, played: what they start, stop, save and restore, with nginx, PostgreSQL and Redis."""
