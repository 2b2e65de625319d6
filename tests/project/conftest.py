"""Projects in a folder of their own, and `virke` run in it."""

from tests.cli.conftest import folder as folder
from tests.cli.conftest import virke as virke
