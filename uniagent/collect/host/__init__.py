"""Programs that are run with the package manager's own Python. Nothing here is imported by the agent."""
