"""HTTP/1.1 on a connection, for an ASGI application: strict in what it takes, with a deadline for everything that it waits for."""
