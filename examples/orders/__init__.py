"""The order flow and the services it calls; see README.md."""
