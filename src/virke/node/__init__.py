"""The node: a stateless HTTP server for the databases of one store, as many of them as one likes."""
