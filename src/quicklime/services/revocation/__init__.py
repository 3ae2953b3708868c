"""Revoke certificates, and know which are valid (mission M3)."""
