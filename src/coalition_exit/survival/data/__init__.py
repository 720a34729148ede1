"""Responses, formulas, declarations: what comes in."""
