"""`python -m callboard.client.cli`, where the script `callboard` is not installed."""

from .group import main

main(prog_name="callboard")
