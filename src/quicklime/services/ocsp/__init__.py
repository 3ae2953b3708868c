"""Answer OCSP requests (mission M4; RFC 6960, RFC 5019, RFC 9654)."""
