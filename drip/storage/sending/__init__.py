"""Messages on their way out, and what came back."""
