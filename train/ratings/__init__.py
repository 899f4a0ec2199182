"""Recommenders: who took what in a shop, or in two."""
