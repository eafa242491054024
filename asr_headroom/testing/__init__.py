"""Shipped to users: synthetic speech and tiny random models."""
