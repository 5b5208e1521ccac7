"""All SQL, and no policy: every statement that the program runs is in this room."""
