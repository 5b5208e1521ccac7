"""What people can order, and what recipients say by their links; the command line, the
pages and the API only call it.

An order has a `by` and may have a `why`, and leaves a row of `audit` in the transaction
of what it changes. What recipients say leaves none: the log of consents and the events
are its record."""
