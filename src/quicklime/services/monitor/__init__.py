"""Look at certificates: the inventory (mission M5's beginning)."""
