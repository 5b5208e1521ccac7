"""Template and facts in, rendered message out."""
