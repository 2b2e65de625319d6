"""What programs import, or Python for them, not before they run: brought into the image while it is built.

Knows names of modules. There are no files to import from later.

1. One that is not there is left out: whether it is missed shows when it is asked for, as it would elsewhere.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

PYTHON: Final = """encodings.ascii encodings.cp1252 encodings.idna encodings.iso8859_1 encodings.iso8859_15 encodings.latin_1
    encodings.punycode encodings.raw_unicode_escape encodings.unicode_escape encodings.utf_16 encodings.utf_16_be
    encodings.utf_16_le encodings.utf_32 encodings.utf_8 encodings.utf_8_sig _strptime base64 calendar csv decimal
    email.base64mime email.charset email.encoders email.generator email.header email.headerregistry email.message email.mime.text
    email.mime.multipart email.parser email.policy email.quoprimime email.utils fractions hashlib hmac html.entities html.parser
    http.cookies json.decoder json.encoder linecache locale mimetypes pprint quopri secrets statistics string stringprep
    tempfile textwrap traceback unicodedata urllib.parse uuid zlib zoneinfo""".split()
OF_FRAMEWORKS: Final = {
    "flask": ("flask.json.tag", "flask.sessions", "flask.templating", "jinja2.ext", "werkzeug.debug.tbtools", "click"),
    "werkzeug": ("werkzeug.formparser", "werkzeug.sansio.multipart", "werkzeug.wrappers", "werkzeug.exceptions"),
    "jinja2": ("jinja2.async_utils", "jinja2.debug", "jinja2.loaders", "jinja2.nativetypes"),
    "starlette": (
        "starlette.formparsers",
        "starlette.middleware.errors",
        "starlette.responses",
        "starlette.templating",
        "multipart",
        "python_multipart",
    ),
    "anyio": ("anyio._backends._asyncio", "anyio.to_thread"),
    "django": ("virke.runtime.django",),
}
"""By the framework that imports them, if a program has it."""


def import_all() -> None:
    """Import all of it, and let what frameworks do in threads be done at once: there is one thread."""
    for name in PYTHON:
        _import_if_there(name)
    for framework, names in OF_FRAMEWORKS.items():
        if framework in sys.modules:
            for name in names:
                _import_if_there(name)
    if to_thread := sys.modules.get("anyio.to_thread"):
        vars(to_thread)["run_sync"] = _run_sync


def _import_if_there(name: str) -> None:
    try:
        import_module(name)
    except ImportError as error:
        del error  # rule 1


async def _run_sync(func: Any, *args: Any, **options: Any) -> Any:
    """`anyio.to_thread.run_sync`, at once."""
    del options
    return func(*args)
