"""What `make demo` plays."""
