"""Budgets, measured: one module for each; `python -m bench` runs them and prints a table (docs/benchmarks.md)."""
