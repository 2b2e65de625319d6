"""Errors that many calls share."""

class Error_BufferLen:
    value: int
