"""Specifications: YAML in, validated models out."""

from coalition_exit.specs.loading import Spec, article_specs, load_spec
from coalition_exit.specs.models import ModelSpec

__all__ = ["ModelSpec", "Spec", "article_specs", "load_spec"]
