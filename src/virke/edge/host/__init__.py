"""A host for components of Fastly Compute on wasmtime, over any store: `virke dev --edge` and the tests run on it (decision 0033)."""
