"""Stands in for setuptools while pip fetches apsw's source; see `build_meta`."""
