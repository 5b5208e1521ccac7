"""The figures of README.md beside this folder: `python -m tests.benchmarks` prints them all again."""
