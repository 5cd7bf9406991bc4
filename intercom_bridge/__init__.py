"""Django service that connects the Intercom inbox with the iTop service desk."""

# The only place that states the version: pyproject.toml reads it from here.
__version__ = "0.1.0.dev0"

USER_AGENT = f"intercom-itop-bridge/{__version__}"
