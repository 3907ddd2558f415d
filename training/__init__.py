"""Training of visible-infrared encoders."""
