// Apple's push service: Pushy's mock server, which validates requests as Apple's documents say, with a control interface.
//
//   java -cp 'jars/*' Apns.java --certificate server.pem --key server.key --topic org.example.app
//
//   POST   /_tokens?token=HEX            the device is registered; &gone=MILLIS: and was not any more since then
//   POST   /_script?token=HEX&reason=TOO_MANY_REQUESTS    a refusal, once
//   GET    /_messages?token=HEX          what was accepted: headers and payload
//
// It ends when standard input does. The first line it prints is {"port", "control", "key", "key_id", "team_id"}; `key` is
// the private key that provider tokens are to be signed with.
//
// Pushy 0.15.4 takes a signature in DER, the standard (RFC 7518, section 3.4) has r and s side by side: they are
// converted before Pushy looks.

import com.eatthepath.pushy.apns.auth.ApnsVerificationKey;
import com.eatthepath.pushy.apns.server.MockApnsServer;
import com.eatthepath.pushy.apns.server.MockApnsServerBuilder;
import com.eatthepath.pushy.apns.server.MockApnsServerListener;
import com.eatthepath.pushy.apns.server.PushNotificationHandler;
import com.eatthepath.pushy.apns.server.RejectedNotificationException;
import com.eatthepath.pushy.apns.server.RejectionReason;
import com.eatthepath.pushy.apns.server.ValidatingPushNotificationHandlerFactory;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.handler.codec.http2.Http2Headers;
import java.io.File;
import java.lang.reflect.Field;
import java.math.BigInteger;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.interfaces.ECPublicKey;
import java.security.spec.ECGenParameterSpec;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;

public class Apns {
    private static final String KEY_ID = "KEYID00001";
    private static final String TEAM_ID = "TEAMID0001";

    private final Set<String> tokens = ConcurrentHashMap.newKeySet();
    private final Map<String, Instant> gone = new ConcurrentHashMap<>();
    private final Map<String, RejectionReason> scripts = new ConcurrentHashMap<>();
    private final List<String[]> messages = new CopyOnWriteArrayList<>();

    public static void main(final String[] arguments) throws Exception {
        new Apns().run(arguments[1], arguments[3], arguments[5]);
    }

    private void run(final String certificate, final String key, final String topic) throws Exception {
        final KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        final KeyPair pair = generator.generateKeyPair();
        final ApnsVerificationKey verification =
            new ApnsVerificationKey(KEY_ID, TEAM_ID, (ECPublicKey) pair.getPublic());
        final ValidatingPushNotificationHandlerFactory validating = new ValidatingPushNotificationHandlerFactory(
            Map.of(topic, tokens), gone, Map.of(KEY_ID, verification), Map.of(verification, Set.of(topic)));
        final MockApnsServer server = new MockApnsServerBuilder()
            .setServerCredentials(new File(certificate), new File(key), null)
            .setEventLoopGroup(new NioEventLoopGroup(2))
            .setUseAlpn(true)
            .setHandlerFactory(session -> {
                final PushNotificationHandler handler = validating.buildHandler(session);
                return (headers, payload) -> handle(handler, headers, payload);
            })
            .setListener(new Listener())
            .build();
        final int port = listen(server);
        final HttpServer control = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        control.createContext("/", this::control);
        control.start();
        final String pem = "-----BEGIN PRIVATE KEY-----\\n"
            + Base64.getEncoder().encodeToString(pair.getPrivate().getEncoded()) + "\\n-----END PRIVATE KEY-----\\n";
        System.out.printf("{\"port\":%d,\"control\":%d,\"key\":\"%s\",\"key_id\":\"%s\",\"team_id\":\"%s\"}%n",
            port, control.getAddress().getPort(), pem, KEY_ID, TEAM_ID);
        while (System.in.read() >= 0) {
            // Until it closes.
        }
        System.exit(0);
    }

    // MockApnsServer.start(port) would listen on every interface.
    private static int listen(final MockApnsServer server) throws Exception {
        final Field field = server.getClass().getSuperclass().getDeclaredField("bootstrap");
        field.setAccessible(true);
        final Channel channel =
            ((ServerBootstrap) field.get(server)).bind(new InetSocketAddress("127.0.0.1", 0)).sync().channel();
        return ((InetSocketAddress) channel.localAddress()).getPort();
    }

    private void handle(final PushNotificationHandler handler, final Http2Headers headers, final ByteBuf payload)
        throws RejectedNotificationException {
        final CharSequence authorization = headers.get("authorization");
        if (authorization != null) {
            headers.set("authorization", inDer(authorization.toString()));
        }
        handler.handlePushNotification(headers, payload);
        final String path = headers.path().toString();
        final RejectionReason scripted = scripts.remove(path.substring(path.lastIndexOf('/') + 1));
        if (scripted != null) {
            throw new RejectedNotificationException(scripted);
        }
    }

    private static String inDer(final String authorization) {
        final int dot = authorization.lastIndexOf('.');
        final byte[] raw = Base64.getUrlDecoder().decode(authorization.substring(dot + 1));
        if (raw.length != 64) {
            return authorization;
        }
        final byte[] r = new BigInteger(1, java.util.Arrays.copyOfRange(raw, 0, 32)).toByteArray();
        final byte[] s = new BigInteger(1, java.util.Arrays.copyOfRange(raw, 32, 64)).toByteArray();
        final byte[] der = new byte[6 + r.length + s.length];
        der[0] = 0x30;
        der[1] = (byte) (4 + r.length + s.length);
        der[2] = 0x02;
        der[3] = (byte) r.length;
        System.arraycopy(r, 0, der, 4, r.length);
        der[4 + r.length] = 0x02;
        der[5 + r.length] = (byte) s.length;
        System.arraycopy(s, 0, der, 6 + r.length, s.length);
        return authorization.substring(0, dot + 1) + Base64.getUrlEncoder().withoutPadding().encodeToString(der);
    }

    private final class Listener implements MockApnsServerListener {
        @Override
        public void handlePushNotificationAccepted(final Http2Headers headers, final ByteBuf payload) {
            final List<String> fields = new ArrayList<>();
            headers.forEach(header -> {
                if (header.getKey().toString().startsWith("apns-")) {
                    fields.add(quoted(header.getKey().toString()) + ":" + quoted(header.getValue().toString()));
                }
            });
            final String path = headers.path().toString();
            messages.add(new String[] {
                path.substring(path.lastIndexOf('/') + 1),
                "{\"headers\":{" + String.join(",", fields) + "},\"payload\":" + payload.toString(StandardCharsets.UTF_8) + "}"
            });
        }

        @Override
        public void handlePushNotificationRejected(final Http2Headers headers, final ByteBuf payload,
            final RejectionReason reason, final Instant timestamp) {
        }
    }

    private static String quoted(final String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }

    private void control(final HttpExchange exchange) throws java.io.IOException {
        final Map<String, String> query = new ConcurrentHashMap<>();
        final String raw = exchange.getRequestURI().getRawQuery();
        for (final String part : (raw == null ? "" : raw).split("&")) {
            final String[] pair = part.split("=", 2);
            if (pair.length == 2) {
                query.put(pair[0], URLDecoder.decode(pair[1], StandardCharsets.UTF_8));
            }
        }
        final String token = query.getOrDefault("token", "");
        String answer = "{\"ok\":true}";
        switch (exchange.getRequestURI().getPath()) {
            case "/_tokens":
                tokens.add(token);
                if (query.containsKey("gone")) {
                    gone.put(token, Instant.ofEpochMilli(Long.parseLong(query.get("gone"))));
                }
                break;
            case "/_script":
                scripts.put(token, RejectionReason.valueOf(query.get("reason")));
                break;
            default:
                final List<String> found = new ArrayList<>();
                messages.stream().filter(one -> one[0].equals(token)).forEach(one -> found.add(one[1]));
                answer = "[" + String.join(",", found) + "]";
        }
        final byte[] bytes = answer.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(200, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }
}
