"""How the database is reached.

Its tables, its statements, and what differs between SQLite and PostgreSQL.
"""
