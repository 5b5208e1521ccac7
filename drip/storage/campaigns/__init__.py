"""Who is in which campaign, and where they stand."""
