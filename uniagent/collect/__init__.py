"""Asks the host what it is and what it has. Runs in a short-lived process: the daemon imports nothing from here."""
