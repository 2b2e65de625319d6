"""More requests for one sandbox."""

from wit_world.imports.async_io import Pollable
from wit_world.imports.http_req import Request

class NextRequestOptions:
    def __init__(self, *, timeout_ms: int | None, extra: None) -> None: ...

def next_request(options: NextRequestOptions) -> Pollable: ...
def await_request(pending: Pollable) -> tuple[Request, Pollable] | None: ...
