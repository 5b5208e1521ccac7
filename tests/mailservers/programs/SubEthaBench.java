import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import org.subethamail.smtp.MessageHandler;
import org.subethamail.smtp.RejectException;
import org.subethamail.smtp.auth.EasyAuthenticationHandlerFactory;
import org.subethamail.smtp.auth.LoginFailedException;
import org.subethamail.smtp.server.SMTPServer;
import org.subethamail.smtp.server.Session;
import org.subethamail.smtp.server.SessionHandler;

/** SubEthaSMTP as an application would use it: port, notes and, where encrypted, the store of the key and its password. */
public final class SubEthaBench {
    private static Path notes;

    private static void note(String line) {
        try {
            Files.writeString(notes, line + "\n", StandardOpenOption.APPEND);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static final class Handler implements MessageHandler {
        private final List<String> recipients = new ArrayList<>();

        @Override
        public void from(String from) {}

        @Override
        public void recipient(String to) throws RejectException {
            if (to.startsWith("dead-")) throw new RejectException(550, "5.1.1 no such user");
            recipients.add(to);
        }

        @Override
        public String data(InputStream text) throws IOException {
            text.transferTo(OutputStream.nullOutputStream());
            recipients.forEach(SubEthaBench::note);
            return null;
        }

        @Override
        public void done() {}
    }

    private static final class Sessions implements SessionHandler {
        @Override
        public SessionAcceptance accept(Session session) {
            note("session");
            return SessionAcceptance.success();
        }

        @Override
        public void onSessionEnd(Session session) {}
    }

    public static void main(String[] told) throws Exception {
        notes = Path.of(told[1]);
        var server = SMTPServer.port(Integer.parseInt(told[0])).bindAddress(InetAddress.getByName("127.0.0.1"))
                .messageHandlerFactory(context -> new Handler()).sessionHandler(new Sessions());
        if (told.length > 2) {
            server.enableTLS().startTlsSocketFactory(context(told[2], told[3].toCharArray()))
                    .authenticationHandlerFactory(new EasyAuthenticationHandlerFactory((user, password, context) -> {
                        if (!user.equals("user") || !password.equals("right")) throw new LoginFailedException();
                    }));
        }
        server.build().start();
    }

    private static SSLContext context(String store, char[] password) throws Exception {
        var keys = KeyStore.getInstance("PKCS12");
        try (var file = new FileInputStream(store)) {
            keys.load(file, password);
        }
        var managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        managers.init(keys, password);
        var context = SSLContext.getInstance("TLS");
        context.init(managers.getKeyManagers(), null, null);
        return context;
    }
}
