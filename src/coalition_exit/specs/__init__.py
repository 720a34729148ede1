"""Specifications: YAML in, validated models out."""

from coalition_exit.specs.loading import ModelSpec, Spec, article_specs, load_spec

__all__ = ["ModelSpec", "Spec", "article_specs", "load_spec"]
