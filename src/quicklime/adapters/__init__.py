"""The world outside: logs, stores, keys. None imports another, and only ``wiring`` chooses among them."""
