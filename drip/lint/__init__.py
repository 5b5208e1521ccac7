"""What is not wrong, but will go wrong.

Rules over campaigns, settings and templates, each with a code.
"""
