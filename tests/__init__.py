"""Tests, by kind: unit, house, contracts, simulation, interop; `support` is what they share."""
