import com.icegreen.greenmail.user.GreenMailUser;
import com.icegreen.greenmail.user.UserManager;
import com.icegreen.greenmail.util.GreenMail;
import com.icegreen.greenmail.util.ServerSetup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** GreenMail as a test would use it: port, notes and, where encrypted, "tls" (its own property names the store of the key). */
public final class GreenMailBench {
    public static void main(String[] told) throws Exception {
        var notes = Path.of(told[1]);
        var protocol = told.length > 2 ? ServerSetup.PROTOCOL_SMTPS : ServerSetup.PROTOCOL_SMTP;
        var server = new GreenMail(new ServerSetup(Integer.parseInt(told[0]), "127.0.0.1", protocol));
        server.start();
        UserManager users = server.getUserManager();
        users.createUser("user", "user", "right");
        GreenMailUser everybody = users.getUser("user");
        users.setMessageDeliveryHandler((message, to) -> {
            try {
                Files.writeString(notes, to.getEmail() + "\n", StandardOpenOption.APPEND);
            } catch (java.io.IOException error) {
                throw new jakarta.mail.MessagingException("not written down", error);
            }
            return everybody;
        });
        Thread.currentThread().join();
    }
}
