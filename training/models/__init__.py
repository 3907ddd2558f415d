"""The networks: the three-stream AGW encoder and its parts."""
