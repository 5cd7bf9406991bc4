"""Create a ticket from a conversation: submit the form, attempt the creation, render the transcript."""
