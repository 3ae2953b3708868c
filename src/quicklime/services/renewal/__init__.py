"""Renew certificates, and show the lineages that renewals make (mission M2)."""
