"""Tokens, credentials, and what each role may see."""
