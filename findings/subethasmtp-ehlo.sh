#!/usr/bin/env bash
# SubEthaSMTP 7.1.3 (Maven, com.github.davidmoten): what its answer to EHLO offers.
#
# Expected: the answer ends with the last extension; once the connection is encrypted, STARTTLS is no longer among them, since a
#   server must not offer it then (RFC 3207, section 4.2), and a program that insists on encryption can go by the list.
# Behaviour: the last line is always "250 Ok", which whoever reads the list as RFC 5321 (section 4.1.1.1) has it takes for an extension
#   of that name. And the list is the same before and after STARTTLS, with STARTTLS in it.
# Seen:
#   before: 8BITMIME STARTTLS CHUNKING SMTPUTF8 Ok
#   encrypted: 8BITMIME STARTTLS CHUNKING SMTPUTF8 Ok
#   smtplib: an extension "ok"
#
# Needs mvn, a JDK and python3. Exits 1 if it offers something else.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"

cat >pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
<dependencies><dependency>
<groupId>com.github.davidmoten</groupId><artifactId>subethasmtp</artifactId><version>7.1.3</version>
</dependency></dependencies></project>
XML
mvn -q -B -Dmaven.repo.local="$folder/repository" dependency:copy-dependencies -DoutputDirectory=lib

cat >Server.java <<'JAVA'
import java.net.InetAddress;
import javax.net.ssl.SSLContext;
import org.subethamail.smtp.server.SMTPServer;

public class Server {
    public static void main(String[] none) throws Exception {
        var server = SMTPServer.port(0).bindAddress(InetAddress.getByName("127.0.0.1"))
                .enableTLS().startTlsSocketFactory(SSLContext.getDefault()).build();
        server.start();
        System.out.println(server.getPortAllocated());
    }
}
JAVA
keytool -genkeypair -keystore keys.p12 -storetype PKCS12 -storepass of-no-worth -keyalg EC -alias mail -dname CN=localhost 2>/dev/null
java -cp 'lib/*' -Djavax.net.ssl.keyStore=keys.p12 -Djavax.net.ssl.keyStorePassword=of-no-worth Server.java >port 2>log &
server=$!

python3 >said <<'PYTHON'
import smtplib, ssl, time
from pathlib import Path

for _ in range(200):
    if port := Path("port").read_text().strip():
        break
    time.sleep(0.1)
client = smtplib.SMTP("127.0.0.1", int(port), local_hostname="client.example", timeout=10)
# The certificate is nobody's.
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

def offered():
    code, text = client.ehlo()
    return " ".join(text.decode().splitlines()[1:])

print(f"before: {offered()}")
client.starttls(context=context)
print(f"encrypted: {offered()}")
print(f"smtplib: {'an' if client.has_extn('ok') else 'no'} extension \"ok\"")
client.quit()
PYTHON

cat said
diff said - <<'SEEN'
before: 8BITMIME STARTTLS CHUNKING SMTPUTF8 Ok
encrypted: 8BITMIME STARTTLS CHUNKING SMTPUTF8 Ok
smtplib: an extension "ok"
SEEN
