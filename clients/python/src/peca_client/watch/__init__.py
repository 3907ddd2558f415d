"""The camera agent: people in frames become crops in a gallery.

It needs `pip install './clients/python[watch]'`.
"""
