"""ACME (RFC 8555) and what belongs to it: the standard way in, with real validation of names (missions M8 and M9)."""
