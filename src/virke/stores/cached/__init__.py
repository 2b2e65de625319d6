"""A cache of immutable objects before any store's: in memory, and on disk where all processes share it."""
