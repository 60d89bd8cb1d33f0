"""Alembic's environment: runs migrations on the connection that lms.migrations.run hands over."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from lms.foundation.bilingual import BilingualText
from lms.foundation.db import Instant, Json
from lms.migrations.tables import metadata


def _render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ANN401
    """Write our own column types as plain ones: a migration must not change when our code does."""
    if kind == "type" and isinstance(item, Instant):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and (isinstance(item, BilingualText) or item is Json):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite cannot alter a constraint: Alembic copies the table instead.
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=_render,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
