"""The client of a node: a database that another process has open, with the methods of an embedded one.

`asking` and `reading` are pure: requests as values, answers as what callers get. `exchange` decides what is sent again,
`http` sends; the rest puts them together (decision 0021).
"""

from virke.client.address import Address, address_of
from virke.client.database import RemoteDatabase
from virke.client.node import Node

__all__ = ["Address", "Node", "RemoteDatabase", "address_of"]
