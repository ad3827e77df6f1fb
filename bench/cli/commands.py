"""Importing this registers every command."""
