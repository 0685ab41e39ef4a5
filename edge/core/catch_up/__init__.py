"""Subscriptions, and the events they missed (protocol section 7, "Resume")."""
