"""Deterministic simulation: the whole house on one thread, by a virtual clock and a seeded scheduler, with faults.

`machine` schedules and injects faults, `house` makes a random workspace and the actors in it, `model` says what must
be true at the end, `mutants` are programs that are wrong on purpose. `python -m tests.simulation` runs many seeds.
"""
