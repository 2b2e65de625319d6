"""A Valkey server as a store: its URL, what is under which key, the connections."""
