"""What is not wrong, but will go wrong: rules over campaigns, settings and templates, each with a code."""
