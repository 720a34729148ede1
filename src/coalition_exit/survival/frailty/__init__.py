"""Shared frailty."""
