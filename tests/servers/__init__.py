"""Real servers for tests and benchmarks: each a context manager that starts one on loopback and stops it again."""
