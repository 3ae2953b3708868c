"""The kinds of work of a server, each of which may have processes of its own: upkeep, the API, status."""
