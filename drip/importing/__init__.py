"""Files of contacts, records and events come in: each row is taken or set aside with
its reason."""
