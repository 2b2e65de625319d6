"""virke.runtime: its parts, and programs on real servers."""
