"""A teammate's actions on tickets, independent of Canvas Kit. Import from the modules."""
