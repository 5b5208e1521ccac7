#!/usr/bin/env bash
# Inbucket 3.2.0: nobody at an internationalised domain can be written to.
#
# Expected: an A-label such as xn--bcher-kva.example is made of letters, digits and hyphens (RFC 5890, section 2.3.2.1), so a server
#   that takes mail for everybody takes it for ana@xn--bcher-kva.example, too.
# Behaviour: any label with two hyphens side by side is bad syntax to it, as recipient and as sender, whether internationalised or
#   not. One hyphen is fine. It does not offer SMTPUTF8, and refuses the domain with its umlaut in the same words.
# Seen:
#   RCPT ana@buecher.example: 250 I'll make sure <ana@buecher.example> gets this
#   RCPT ana@bue-cher.example: 250 I'll make sure <ana@bue-cher.example> gets this
#   RCPT ana@bue--cher.example: 501 Bad recipient address syntax
#   RCPT ana@xn--bcher-kva.example: 501 Bad recipient address syntax
#   MAIL shop@xn--bcher-kva.example: 501 Bad origin address syntax
#
# Needs go and python3. Exits 1 if what is said to these addresses has changed.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT

export GOPATH="$folder/go" GOCACHE="$folder/built" GOBIN="$folder" GOFLAGS=-modcacherw
go install github.com/inbucket/inbucket/v3/cmd/inbucket@v3.2.0

cd "$folder"
read -r smtp pop web < <(python3 -c '
import socket
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(server.getsockname()[1] for server in servers))')
export INBUCKET_SMTP_ADDR=127.0.0.1:$smtp INBUCKET_POP3_ADDR=127.0.0.1:$pop INBUCKET_WEB_ADDR=127.0.0.1:$web
./inbucket >log 2>&1 &
server=$!

python3 - "$smtp" >said <<'PYTHON'
import smtplib, sys, time

for _ in range(100):
    try:
        client = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), local_hostname="client.example", timeout=10)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
client.ehlo()
for to in ("ana@buecher.example", "ana@bue-cher.example", "ana@bue--cher.example", "ana@xn--bcher-kva.example"):
    client.mail("shop@shop.example")
    code, text = client.rcpt(to)
    print(f"RCPT {to}: {code} {text.decode()}")
    client.rset()
code, text = client.mail("shop@xn--bcher-kva.example")
print(f"MAIL shop@xn--bcher-kva.example: {code} {text.decode()}")
client.quit()
PYTHON

cat said
diff said - <<'SEEN'
RCPT ana@buecher.example: 250 I'll make sure <ana@buecher.example> gets this
RCPT ana@bue-cher.example: 250 I'll make sure <ana@bue-cher.example> gets this
RCPT ana@bue--cher.example: 501 Bad recipient address syntax
RCPT ana@xn--bcher-kva.example: 501 Bad recipient address syntax
MAIL shop@xn--bcher-kva.example: 501 Bad origin address syntax
SEEN
