"""The routes: each parses a request, calls one service and shapes the answer."""
