"""apsw for WebAssembly: its build, and the project's own tests inside it."""
