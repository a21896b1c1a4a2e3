"""Shared by everything: errors, checks, files, locks, communication between ranks, seeds, memory, progress."""
