"""Text in, frozen campaigns and settings out, with every problem in its place."""
