"""What a gallery is, how it is searched, how a ranking is scored. The lowest layer: no web, no torch."""
