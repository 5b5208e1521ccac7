"""Real mail servers, started by the tests: `python -m tests.mailservers` runs `drip` against each. One file for each."""
