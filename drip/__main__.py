"""`python -m drip` is `drip`."""

from drip.cli import main

main()
