"""The HTTP side: sign-in, pages, metrics."""
