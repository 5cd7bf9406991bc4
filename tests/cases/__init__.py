"""Test cases and helpers that several test modules share. No test module imports from another one."""
