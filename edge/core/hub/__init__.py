"""Connections by user and by subscription, and the queues of slow ones."""
