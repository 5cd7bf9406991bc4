"""The chat widget in iTop's pages: who sees which workspace's Messenger, with which identity, and how it gets there."""
