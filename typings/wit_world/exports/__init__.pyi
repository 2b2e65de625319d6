"""What a component gives its host."""

from wit_world.imports.async_io import Pollable
from wit_world.imports.http_req import Request

class HttpIncoming:
    def handle(self, request: Request, body: Pollable) -> None: ...
