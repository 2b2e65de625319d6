"""Host calls of Fastly's Compute as a component in Python has them (`fastly:compute@0.1.0`); only what Virke calls."""
