"""Answers as tables for a terminal."""
