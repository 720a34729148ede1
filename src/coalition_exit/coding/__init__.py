"""Coding rules: from the record's facts to variables by state and day."""

from coalition_exit.coding.rules import Rule, RuleBook, load_rules
from coalition_exit.coding.user_rules import load_user_rules

__all__ = ["Rule", "RuleBook", "load_rules", "load_user_rules"]
