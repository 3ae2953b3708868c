"""The CFSSL API, in CFSSL's own words, on top of the ordinary issue and revoke path (mission M1, M9)."""
