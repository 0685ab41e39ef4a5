"""Identity: tokens, the credentials in requests, and permissions (protocol section 7).

`request_head` is a request as any server has read it. `credentials` finds the tokens in one, with
`proxies`, which knows whose forwarded headers count. `tokens` verifies them, by the keys in `keys`
and the rules in `claims`, and refuses those in `revocations`. `access` decides about the topics and
events of the `Identity` that a valid token names. `wrong_passwords` slows guesses down. Three
objects have states, all bounded: `Tokens` remembers verified tokens by their hash, `Revocations`
the ids and users of revoked ones, `WrongPasswords` users and addresses.
"""
