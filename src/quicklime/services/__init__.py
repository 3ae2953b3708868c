"""The services: one folder each, the same files in each, and none imports another. They meet in the log."""
