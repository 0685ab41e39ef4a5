"""Presence: who is subscribed to a topic, on all workers of all edges (protocol section 6).

**Objects.** `OwnMembers` counts the connections of this worker by topic and user, and publishes
them in buckets. `Peers` takes the buckets of the other workers and notices when one of them is
gone. Both put seats into the `PresenceView`: a seat is a user's place at a topic on one worker. The
view joins the seats of a user, and says who has joined and left. `edge/presence_service.py` has the
clock and the sockets.

**Exactness.** A bucket is published as a whole with a version, so that a lost message loses nothing
for long: the beat of each worker, once a second, names the versions of all its buckets. A worker
that lacks one asks the relay for the values that it retained.

**Bounds.** A bucket has `MAX_BUCKET_BYTES` (members), of others `MAX_PEERS` workers and `MAX_SEATS`
are taken (peers). Users beyond are unlisted: counted, and not shown.
"""
