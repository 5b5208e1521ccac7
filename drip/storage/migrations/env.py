"""Alembic's entry: runs the migrations on the connection that `drip db upgrade` opened."""

from alembic import context

from drip.storage.base.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
