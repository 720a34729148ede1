"""Discrete-time hazards and binary regression."""
