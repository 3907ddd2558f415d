"""The camera agent: people in frames become crops in a gallery. Needs `pip install './clients/python[watch]'`."""
