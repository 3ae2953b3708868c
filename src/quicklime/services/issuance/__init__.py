"""Issue certificates (mission M1)."""
