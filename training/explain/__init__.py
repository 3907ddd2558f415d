"""What a trained encoder looks at, and how far apart it keeps people and modalities."""
