"""What an adversary does to drip, and what a machine that lacks something does."""
