"""Kaplan-Meier, Nelson-Aalen, log-rank."""
