"""Coding rules: from the record's facts to variables by state and day."""

from coalition_exit.coding.rules import Rule, RuleBook, load_rules

__all__ = ["Rule", "RuleBook", "load_rules"]
