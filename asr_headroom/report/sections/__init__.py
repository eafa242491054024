"""Sections of the page: one small file each, one function from dataclasses to plain values."""
