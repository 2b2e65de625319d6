"""The `virke` command, one file for each group of commands."""
