"""Decisions before a fit: what a plan is worth, and what a small part of the cost says of it."""
