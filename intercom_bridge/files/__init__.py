"""Files in both directions: download from Intercom, attach in iTop, read from iTop."""
