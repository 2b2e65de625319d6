"""`virke build`, without and with the vendor's tool."""
