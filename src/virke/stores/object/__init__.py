"""Object storage: what a URL means, and the store behind it."""
