"""Small faults put into the code that decides about writes, one at a time: a test must fail for each (decision 0049)."""
