#!/usr/bin/env bash
# First messages with curl: a text that is sent once however often this runs, an image by address, an upload, and what happened.
#
#   BULKHEAD_URL=http://127.0.0.1:3000 BULKHEAD_KEY=… ./first_messages.sh 15550100200 picture.png https://example.com/parcel.jpg
set -euo pipefail
url=${BULKHEAD_URL:-http://127.0.0.1:3000}
company=${BULKHEAD_COMPANY:-demo}
chat=$1 file=$2 address=$3

call() {
    curl --silent --show-error --fail-with-body --header "Authorization: Bearer $BULKHEAD_KEY" "$@"
    echo
}
send() {
    call "$url/api/v2/messages/$company/$chat" --header "Content-Type: application/json" --header "Prefer: wait=30" "$@"
}

# the position before: what happens from here on is read below
after=$(call "$url/api/v2/events/$company?after=latest&limit=1" | sed 's/.*"next":"\([^"]*\)".*/\1/')

# the same key is one message, so that the command can be repeated when its answer was lost
send --header "Idempotency-Key: first-messages-$chat" --data '{"type": "text", "message": "Hello from curl"}'
send --data "{\"type\": \"image\", \"url\": \"$address\", \"caption\": \"By its address\"}"

# a file that is sent often is uploaded once; messages name its digest
sha256=$(call "$url/api/v2/media/$company" --form "file=@$file" | sed 's/.*"sha256": *"\([0-9a-f]*\)".*/\1/')
send --data "{\"type\": \"image\", \"sha256\": \"$sha256\", \"caption\": \"Uploaded before\"}"

call "$url/api/v2/messages/$company/$chat?limit=3"
call "$url/api/v2/events/$company?after=$after&types=message.sent" --header "Prefer: wait=30"
