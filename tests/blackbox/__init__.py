"""Processes that write, read and are killed, on every place where a database can be; and one checker of what they were answered."""
