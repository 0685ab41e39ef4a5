"""The relay as this edge sees it: subscriptions and requests over ZeroMQ."""
