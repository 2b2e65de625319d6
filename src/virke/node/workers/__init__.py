"""Several processes of one machine that serve one address: who does what, how requests get there, who starts them."""
