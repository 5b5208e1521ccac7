#!/usr/bin/env bash
# Haraka 3.2.1 and 3.3.4 (npm): between them a plugin's `address()` becomes a property, and every message is put off.
#
# Expected: a plugin that asks a recipient for `address()`, as plugins did in Haraka 2 and 3.1, works in all of 3.x; if not, it fails as it is
#   loaded, or its hook is passed over.
# Behaviour: in 3.3.1 (there is no 3.3.0 on npm) and later `address` is a string. The plugin is loaded, the recipient accepted, and at the end
#   of each message the client hears 451 and a number, nothing else, so it comes back for days. The cause is in the log only.
# Seen:
#   3.2.1 RCPT: 250
#   3.2.1 message: 250 for ana@shop.example
#   3.3.4 RCPT: 250
#   3.3.4 message: 451
#   3.3.4 log: connection.transaction.rcpt_to[0].address is not a function
#
# Installs Haraka@3.2.1 and Haraka@3.3.4. Needs node, npm and python3. Exits 1 if a version does otherwise.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"

mkdir -p home/config home/plugins
echo mail.example >home/config/me
echo bench >home/config/plugins
echo '{}' >home/package.json
cat >home/plugins/bench.js <<'NODE'
exports.hook_rcpt = (next) => next(OK)
exports.hook_queue = (next, connection) => next(OK, `for ${connection.transaction.rcpt_to[0].address()}`)
NODE

talk() { # VERSION: what a client hears, and what the log says of the plugin
    npm install --silent --ignore-scripts --no-audit --no-fund --cache cache --prefix "$1" "Haraka@$1"
    cp "$1/node_modules/Haraka/config/connection.ini" home/config/
    port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
    printf 'listen=127.0.0.1:%s\nnodes=0\n' "$port" >home/config/smtp.ini
    node "$1/node_modules/Haraka/bin/haraka" -c home >log 2>&1 &
    server=$!
    python3 - "$1" "$port" <<'PYTHON'
import smtplib, sys, time

version, port = sys.argv[1:]
for _ in range(200):
    try:
        client = smtplib.SMTP("127.0.0.1", int(port), local_hostname="client.example", timeout=10)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
client.ehlo()
client.mail("shop@shop.example")
print(f"{version} RCPT: {client.rcpt('ana@shop.example')[0]}")
code, text = client.data("Subject: Welcome\r\n\r\nHello\r\n")
# The number of the message, in brackets, is another each time.
print(f"{version} message: {code} {text.decode().partition('(')[0]}".strip())
client.quit()
PYTHON
    kill "$server"
    wait "$server" || true
    server=
    sed -n "s/.*TypeError: \(.* is not a function\).*/$1 log: \1/p" log
}

for version in 3.2.1 3.3.4; do talk "$version"; done >said

cat said
diff said - <<'SEEN'
3.2.1 RCPT: 250
3.2.1 message: 250 for ana@shop.example
3.3.4 RCPT: 250
3.3.4 message: 451
3.3.4 log: connection.transaction.rcpt_to[0].address is not a function
SEEN
