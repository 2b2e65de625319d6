"""What a server says and understands, as values: requests become operations, outcomes become responses.

Knows the engine's values; knows no socket, no thread, no clock and no library. Whoever serves reads and writes the bytes.
"""
