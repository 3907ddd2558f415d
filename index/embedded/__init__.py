"""The embedded engine: SQLite holds the truth, FAISS searches it, one process writes it."""
