"""The pure core: frozen data and functions of it. No file, no clock, no database."""
