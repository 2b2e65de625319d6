"""The engine: SQLite on a snapshot, and the driver that performs effects. The only threads, retries and sleeps."""
