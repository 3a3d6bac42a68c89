"""PostgreSQL migrations that are complete and proven, or leave the database as it was."""

__version__ = "0.1.0"
