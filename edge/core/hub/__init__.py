"""The hub: connections, their subscriptions, and those of the worker at the relay.

`ConnectionManager` (`connections.py`) groups connections with equal selectors into an `Audience`
(`audience.py`), so that an event costs one look-up for each prefix length and one list entry for
each audience, whatever the number of clients. An audience joins its gathered frames once, and all
its members receive the same bytes. A frame for one connection leaves at once, after the frames
gathered for it: so each connection receives everything in the order of arrival.

The manager reports the first and the last client of each selector to `WorkerSubscriptions`
(`relay_subscriptions.py`), which subscribes at the relay, and reports watched topics through
`DemandLog` (`demand_log.py`). `SubscriptionQuota` (`subscription_quota.py`) counts and bounds them.

Bounds: gathered frames, 4 MiB or 2^20 entries over all audiences; beyond that they are flushed at
once, without waiting for the flush throttle. Frames that wait for a slow client are not here but in
its send queue.
"""
