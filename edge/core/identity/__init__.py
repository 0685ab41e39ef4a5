"""Identity: tokens, the credentials in requests, and permissions (protocol section 7).

`credentials` finds the tokens in a request, `tokens` verifies them, and `access` decides about
the topics and events of the `Identity` that a valid token names. Nothing here has states but
`Tokens`, which remembers at most `MAX_VERIFIED` verified tokens by their hash.
"""
