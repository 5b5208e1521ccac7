"""What looks ahead and sends nothing: the stages on a virtual clock, for preview,
explain, diff and tests."""
