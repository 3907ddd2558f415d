"""The frozen encoder: written with torch, read and run without it."""
