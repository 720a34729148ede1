"""Competing exits: cause-specific hazards, incidence, Fine-Gray."""
