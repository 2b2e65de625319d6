"""The embedded default, a folder of this machine: a register and objects in one SQLite file, large objects as files."""
