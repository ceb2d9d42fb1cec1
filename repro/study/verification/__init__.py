"""Verification of stored data: files, numbers against each other, and runs trained again."""
