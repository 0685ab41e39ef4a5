"""Identity: tokens, the credentials in requests, and permissions (protocol section 7).

`request_head` is a request as any server has read it. `credentials` finds the tokens in one, with
`proxies`, which knows whose forwarded headers count. `tokens` verifies them, and `access` decides
about the topics and events of the `Identity` that a valid token names. `wrong_passwords` slows
guesses down. Two objects have states, both bounded: `Tokens` remembers verified tokens by their
hash, `WrongPasswords` users and addresses.
"""
