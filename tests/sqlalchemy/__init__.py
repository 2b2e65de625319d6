"""SQLAlchemy on Virke's databases, and what is built on it."""
