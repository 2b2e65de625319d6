"""Files in and out of a database: SQL dumps, SQLite files and CSV tables. Embedded place only: it needs a disk.

`import_file`, `export_file`, `export_parts` and `copy_database` are all that other packages need.
"""

from __future__ import annotations

from virke.transfer.copying import Copied as Copied
from virke.transfer.copying import copy_database as copy_database
from virke.transfer.exporting import Exported as Exported
from virke.transfer.exporting import export_file as export_file
from virke.transfer.exporting import export_parts as export_parts
from virke.transfer.importing import Imported as Imported
from virke.transfer.importing import import_file as import_file
from virke.transfer.source import Progress as Progress
