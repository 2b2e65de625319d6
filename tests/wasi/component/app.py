"""The component: it runs the program that it is given, with Python's own modules and the project from folders of the host.

The image has the modules that were imported while it was made; those of the standard library that pytest wants come from `/python`.
"""

import importlib
import importlib.machinery
import sys
import traceback
import types

import apsw  # noqa: F401 (a native module has to be in the image)
import virke_frames  # noqa: F401
import wit_world

BUILD = types.ModuleType("_sysconfigdata__wasi_wasm32-wasi")
BUILD.build_time_vars = {}
"""How this Python was built, which `sysconfig` asks for and the image left out."""


class WitWorld(wit_world.WitWorld):
    """The exports of the world."""

    def run(self, program: str) -> str:
        """See world.wit; an exception is an answer, too."""
        sys.dont_write_bytecode = True
        sys.modules[BUILD.__name__] = BUILD
        sys.path[:] = ["/site", "/project/src", "/project", *sys.path]
        if "/python" not in sys.path:
            sys.path.append("/python")
        importlib.__path__ = ["/python/importlib"]  # frozen in the image, where it is no package
        sys.path_importer_cache.clear()
        importlib.invalidate_caches()
        names = {"answer": ""}
        try:
            exec(program, names)
        except BaseException:
            return "raised: " + traceback.format_exc()
        return names["answer"]
