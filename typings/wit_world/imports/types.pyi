"""Errors that many calls share."""

class Error_BufferLen:
    value: int

class IpAddress_Ipv4:
    value: tuple[int, int, int, int]

class IpAddress_Ipv6:
    value: tuple[int, int, int, int, int, int, int, int]
