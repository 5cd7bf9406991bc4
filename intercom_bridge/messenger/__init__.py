"""The chat widget (Intercom's Messenger) in iTop's pages: who sees it, with which identity, and the iTop extension."""
