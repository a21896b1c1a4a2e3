"""Scorers: forward passes over a pool that give its signals."""
