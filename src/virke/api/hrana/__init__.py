"""Hrana, libSQL's protocol, as values: JSON becomes requests, answers become JSON, and a stream says what it needs done.

Knows the engine's programs and values; knows no socket, no thread and no clock. The normative texts are libSQL's
HRANA_3_SPEC, HTTP_V1_SPEC and HTTP_V2_SPEC and Turso's PROTOCOL; where they leave a choice, sqld's answer is given.
"""
