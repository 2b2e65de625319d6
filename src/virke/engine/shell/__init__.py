"""What SQLite's shell adds to SQL, in Python that is pure: patterns, numbers, texts. The connection lends them (`sqlite.lending`)."""
