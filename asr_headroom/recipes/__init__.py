"""Recipes: named steps in YAML, and what executes them."""
