"""A project from its first file to its database in the world: `init`, `dev`, `deploy`."""
