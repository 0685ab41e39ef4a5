"""The HTTP routes: sign-in, the API and the operations, pages, metrics."""
