"""Contacts with their records, events, consents and counters."""
