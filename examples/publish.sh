#!/bin/sh
# TOKEN=… sh publish.sh: publishes by HTTP, then shows the newest event of the stream.
set -eu
EDGE=${EDGE:-http://127.0.0.1:8000}

curl -sS --fail-with-body "$EDGE/api/events" -H "Authorization: Bearer $TOKEN" \
  -d '{"topic":"event:order_paid","data":{"order":42}}'
echo
curl -sS --fail-with-body "$EDGE/api/streams/event/events?limit=10" \
  -H "Authorization: Bearer $TOKEN"
