#!/usr/bin/env bash
# smtp-server 3.21.6 (npm): the application is handed another domain than the client said.
#
# Expected: what the client puts between the angle brackets stands in `address`, as it does for the local part: ana@xn--bcher-kva.example.
#   At most a message with SMTPUTF8 is treated otherwise.
# Behaviour: the domain's A-labels are decoded, in `onMailFrom`, `onRcptTo` and the envelope, though `smtpUtf8` is false there. The
#   original is not kept. An application that hands the mail on as it got it says a domain that a server without SMTPUTF8 has
#   to refuse, and one that looks people up by their address does not find them. Upper case in a domain stays as it is.
# Seen:
#   MAIL shop@xn--bcher-kva.example: shop@bücher.example
#   RCPT ana@xn--bcher-kva.example: ana@bücher.example
#   RCPT ben@Shop.Example: ben@Shop.Example
#   smtpUtf8: false
#
# Needs node, npm and python3. Exits 1 if other addresses are handed over.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$folder/cache" --prefix "$folder" smtp-server@3.21.6

cat >server.js <<'NODE'
const { SMTPServer } = require('smtp-server')

const server = new SMTPServer({
    disabledCommands: ['STARTTLS', 'AUTH'],
    onData(stream, session, done) {
        stream.resume()
        stream.on('end', () => done(null, JSON.stringify(session.envelope)))
    },
})
server.listen(0, '127.0.0.1', () => console.log(server.server.address().port))
NODE
node server.js >port &
server=$!

python3 >said <<'PYTHON'
import json, smtplib, time
from pathlib import Path

for _ in range(100):
    if port := Path("port").read_text().strip():
        break
    time.sleep(0.1)
client = smtplib.SMTP("127.0.0.1", int(port), local_hostname="client.example", timeout=10)
client.ehlo()
senders, recipients = ["shop@xn--bcher-kva.example"], ["ana@xn--bcher-kva.example", "ben@Shop.Example"]
client.mail(*senders)
for to in recipients:
    client.rcpt(to)
# The server answers with the envelope that the application was handed.
code, text = client.data("Subject: Welcome\r\n\r\nHello\r\n")
envelope = json.loads(text)
print(f"MAIL {senders[0]}: {envelope['mailFrom']['address']}")
for to, handed in zip(recipients, envelope["rcptTo"]):
    print(f"RCPT {to}: {handed['address']}")
print(f"smtpUtf8: {str(envelope['smtpUtf8']).lower()}")
client.quit()
PYTHON

cat said
diff said - <<'SEEN'
MAIL shop@xn--bcher-kva.example: shop@bücher.example
RCPT ana@xn--bcher-kva.example: ana@bücher.example
RCPT ben@Shop.Example: ben@Shop.Example
smtpUtf8: false
SEEN
