"""How the database is reached: its tables, its statements, and what differs between SQLite and PostgreSQL."""
