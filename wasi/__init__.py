"""apsw for WebAssembly (WASI): pinned sources and the program that builds them. See decision 0031."""
