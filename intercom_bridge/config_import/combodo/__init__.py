"""Readers of the configuration of Combodo's PHP extension `combodo-intercom-integration`."""
