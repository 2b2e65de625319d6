"""Programs that the tests run on real servers: the same routes in each framework, and what only one of them has."""
