#!/usr/bin/env bash
# OpenSMTPD 6.8.0p2 (Debian 12): the notice of a message that was given up says that it is only delayed.
#
# Expected: once `queue ttl` is over the sender gets a report with `Action: failed` (RFC 3464, section 2.3.3) and Status 5.4.7 or 4.4.7,
#   in a multipart/report (RFC 6522).
# Behaviour: the envelope is deleted, and the one notice that comes of it is worded as a warning is: delayed for more than 0 seconds, kept for up to
#   7 days (here it was 5 seconds), no need to send it again. Nothing follows. What is final in it is 4.4.7 and "Envelope expired". It is a
#   multipart/mixed, and its part text/rfc822-headers has the whole message.
# Seen:
#   Subject: Delivery status notification: delayed
#   Content-Type: multipart/mixed
#   A message is delayed for more than 0 seconds for the following
#   ana@far.example: Envelope expired
#   The message is kept in the queue for up to 7 days.
#   You DO NOT NEED to re-send the message to these recipients.
#   Action: delayed
#   Status: 4.4.7
#   notices: 1, envelopes left in the queue: 0
#
# Needs Debian 12 with its package lists (apt-get update), root (it runs in a root of its own, over this one), and python3.
# Exits 1 if the notice says something else.
set -euo pipefail

folder=$(mktemp -d)
running=()
finish() {
    # unshare does not listen to SIGTERM; what it has started ends with it.
    for process in "${running[@]}"; do kill -KILL "$process" && wait "$process" || true; done 2>/dev/null
    rm -rf "$folder"
}
trap finish EXIT
cd "$folder"
chmod 755 .

mkdir debs box over
(cd debs && apt-get -qq -o APT::Sandbox::User=root download \
    opensmtpd=6.8.0p2-4+b4 libevent-2.1-7=2.1.12-stable-8 libdb5.3=5.3.28+dfsg2-1)
for package in debs/*.deb; do dpkg-deb -x "$package" over; done
# Its unit for systemd: a folder here would hide the link.
rm -r over/lib

# Onward: a server that has no time for Ana, and takes what comes back to the sender.
cat >others.py <<'PYTHON'
import socketserver
from pathlib import Path

class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 far.example")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if line.upper().startswith(b"RCPT TO:<ANA@"):
                self.say("451 4.3.0 not now")
            elif verb == b"DATA":
                self.say("354 go on")
                with Path("came-back").open("ab") as file:
                    while (part := self.rfile.readline()) not in (b".\r\n", b""):
                        file.write(part)
                self.say("250 taken")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
PYTHON
python3 others.py >others-port &
running+=($!)
while ! [ -s others-port ]; do sleep 0.1; done
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')

cat >over/etc/smtpd.conf <<CONF
queue ttl 5s
listen on 127.0.0.1 port $port hostname mail.shop.example
action "onward" relay host "smtp://127.0.0.1:$(cat others-port)" helo mail.shop.example
match from any for any action "onward"
CONF
for list in passwd group; do grep -v '^opensmtp' "/etc/$list" >"over/etc/$list"; done
printf '%s:5001:5001::/:/bin/false\n%s:5002:5002::/:/bin/false\n' opensmtpd:x opensmtpq:x >>over/etc/passwd
printf '%s:5001:\n%s:5002:\n' opensmtpd:x opensmtpq:x >>over/etc/group
unshare --mount --pid --fork --kill-child --mount-proc sh -ec '
    mount -t tmpfs tmpfs box
    mkdir box/upper box/work box/root
    cp -a over/. box/upper/
    mount -t overlay overlay -o lowerdir=/,upperdir=box/upper,workdir=box/work box/root
    mount --rbind /dev box/root/dev
    mount -t proc proc box/root/proc
    mount -t tmpfs -o mode=755 tmpfs box/root/run
    mkdir -p -m 711 box/root/var/empty box/root/var/spool/smtpd
    exec chroot box/root /usr/sbin/smtpd -d' >log 2>&1 &
server=$!
running+=("$server")

python3 - "$port" <<'PYTHON'
import smtplib, sys, time

for _ in range(100):
    try:
        client = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), local_hostname="shop.example", timeout=10)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
text = "From: shop@shop.example\r\nTo: ana@far.example\r\nSubject: Welcome\r\n\r\nHello\r\n"
client.sendmail("shop@shop.example", ["ana@far.example"], text)
client.quit()
PYTHON
for _ in $(seq 30); do
    if [ -s came-back ]; then break; fi
    sleep 1
done
# Whether anything follows.
sleep 15

inside=/proc/$(tr -d ' ' <"/proc/$server/task/$server/children")/root
left=$(find "$inside/var/spool/smtpd/queue" -type f | wc -l)
{
    grep -o -e '^Subject: Delivery.*' -e 'Content-Type: multipart/[a-z]*' -e 'A message is delayed.*' -e '^ana@far.example: .*' \
        -e 'The message is kept.*' -e 'You DO NOT NEED.*' -e '^Action: .*' -e '^Status: .*' <(tr -d '\r' <came-back)
    echo "notices: $(grep -c '^Subject: Delivery' came-back), envelopes left in the queue: $left"
} >said

cat said
diff said - <<'SEEN'
Subject: Delivery status notification: delayed
Content-Type: multipart/mixed
A message is delayed for more than 0 seconds for the following
ana@far.example: Envelope expired
The message is kept in the queue for up to 7 days.
You DO NOT NEED to re-send the message to these recipients.
Action: delayed
Status: 4.4.7
notices: 1, envelopes left in the queue: 0
SEEN
