"""X.509 as values: no I/O, no clock, no randomness; ``now`` and ``entropy`` are arguments."""
