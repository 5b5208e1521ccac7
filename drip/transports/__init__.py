"""How messages leave.

One file per way; the entry-point group `drip.transports` names them.

A transport is a class that takes its options from `_settings.yaml` (a mapping
of names to texts, secrets already filled in) and raises ValueError with a
sentence for an option that cannot be.
"""
