#!/usr/bin/env bash
# GreenMail 2.1.0 (Maven, com.icegreen): Python's smtplib is told of a syntax error where the password is wrong.
#
# Expected: it offers `AUTH PLAIN LOGIN` and answers a wrong password with 535 by either. smtplib tries one after the other and raises
#   what it heard last: 535.
# Behaviour: PLAIN is answered with 535. LOGIN it knows only with the user's name in a line of its own; smtplib sends the name along with
#   the command, as many clients do, and hears 500 with its own line quoted. That is what a test sees that looks for 535. With
#   the right password nobody notices, since PLAIN comes first.
# Seen:
#   smtplib: 500 syntax error : Unsupported auth mechanism LOGIN with unexpected values. Line is: <AUTH LOGIN dXNlcg==>
#   PLAIN: 535 5.7.8  Authentication credentials invalid
#   LOGIN, name on its own: 535 5.7.8  Authentication credentials invalid
#
# Needs mvn, java and python3. Exits 1 if it answers otherwise.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"

mvn -q -B -Dmaven.repo.local="$folder/repository" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact=com.icegreen:greenmail-standalone:2.1.0 -DoutputDirectory=.
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
java -Dgreenmail.smtp.hostname=127.0.0.1 "-Dgreenmail.smtp.port=$port" -Dgreenmail.users=user:right@shop.example \
    -jar greenmail-standalone-2.1.0.jar >log 2>&1 &
server=$!

python3 - "$port" >said <<'PYTHON'
import base64, smtplib, sys, time

def coded(text):
    return base64.b64encode(text.encode()).decode()

for _ in range(200):
    try:
        client = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), local_hostname="client.example", timeout=10)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
try:
    client.login("user", "wrong")
except smtplib.SMTPAuthenticationError as error:
    print(f"smtplib: {error.smtp_code} {error.smtp_error.decode()}")
code, text = client.docmd("AUTH PLAIN", coded("\0user\0wrong"))
print(f"PLAIN: {code} {text.decode()}")
client.docmd("AUTH LOGIN")
client.docmd(coded("user"))
code, text = client.docmd(coded("wrong"))
print(f"LOGIN, name on its own: {code} {text.decode()}")
client.quit()
PYTHON

cat said
diff said - <<'SEEN'
smtplib: 500 syntax error : Unsupported auth mechanism LOGIN with unexpected values. Line is: <AUTH LOGIN dXNlcg==>
PLAIN: 535 5.7.8  Authentication credentials invalid
LOGIN, name on its own: 535 5.7.8  Authentication credentials invalid
SEEN
