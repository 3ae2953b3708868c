"""Access: bearer tokens."""
