"""Publish certificate revocation lists (mission M4; RFC 5280, Section 5)."""
