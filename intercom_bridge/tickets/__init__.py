"""What a teammate can do with tickets, independent of Canvas Kit. Import from the modules."""
