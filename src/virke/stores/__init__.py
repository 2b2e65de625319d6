"""Stores: registers with compare-and-swap and immutable objects. Bytes only, no pages."""
