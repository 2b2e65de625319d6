"""Fastly KV Store over its REST API: the store, when a request is repeated, and the HTTP client."""
