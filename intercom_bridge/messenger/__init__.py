"""The chat widget in iTop's pages: the Messenger and identity for each person, and the extension that loads it."""
