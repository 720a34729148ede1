"""Checks after a Cox fit: residuals, proportional hazards, influence, concordance."""
