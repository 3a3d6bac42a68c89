"""What is asked of a PostgreSQL server, one subject a module."""
