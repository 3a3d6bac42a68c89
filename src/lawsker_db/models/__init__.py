"""What the head of the chain looks like, as SQLAlchemy metadata: for `alembic check` and autogenerate."""

from lawsker_db.models import enterprise, optimization
from lawsker_db.models.baseline import metadata

__all__ = ["enterprise", "metadata", "optimization"]
