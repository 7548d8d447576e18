import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;

/** What keytool cannot do: write keys as PEM, and stand before a server with TLS. */
public class Tls {
  static final char[] PASSWORD = "changeit".toCharArray();

  public static void main(String[] arguments) throws Exception {
    KeyStore store = KeyStore.getInstance(Path.of(arguments[1]).toFile(), PASSWORD);
    if (arguments[0].equals("export")) {
      export(store, Path.of(arguments[2]));
    } else {
      front(store, Integer.parseInt(arguments[2]));
    }
  }

  /** Writes NAME.pem (certificate and authority) and NAME.key of every entry. */
  static void export(KeyStore store, Path folder) throws Exception {
    for (String name : java.util.Collections.list(store.aliases())) {
      StringBuilder chain = new StringBuilder();
      for (Certificate certificate : store.getCertificateChain(name)) {
        chain.append(pem("CERTIFICATE", certificate.getEncoded()));
      }
      Files.writeString(folder.resolve(name + ".pem"), chain);
      byte[] key = store.getKey(name, PASSWORD).getEncoded();
      Files.writeString(folder.resolve(name + ".key"), pem("PRIVATE KEY", key));
    }
  }

  static String pem(String kind, byte[] bytes) {
    String text = Base64.getMimeEncoder(64, "\n".getBytes(StandardCharsets.UTF_8)).encodeToString(bytes);
    return "-----BEGIN " + kind + "-----\n" + text + "\n-----END " + kind + "-----\n";
  }

  /** Takes TLS connections on a free port, which it prints, and hands them on in the clear. */
  static void front(KeyStore all, int behind) throws Exception {
    KeyStore own = KeyStore.getInstance("PKCS12");
    own.load(null, PASSWORD);
    own.setKeyEntry("broker", all.getKey("broker", PASSWORD), PASSWORD, all.getCertificateChain("broker"));
    KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keys.init(own, PASSWORD);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(keys.getKeyManagers(), null, null);
    SSLServerSocket server =
        (SSLServerSocket)
            context.getServerSocketFactory().createServerSocket(0, 50, InetAddress.getLoopbackAddress());
    System.out.println(server.getLocalPort());
    Thread ender = new Thread(Tls::endWithInput);
    ender.setDaemon(true);
    ender.start();
    while (true) {
      Socket outside = server.accept();
      new Thread(() -> join(outside, behind)).start();
    }
  }

  static void endWithInput() {
    try {
      while (System.in.read() >= 0) {}
    } catch (java.io.IOException ended) {
      // As good as an end.
    }
    System.exit(0);
  }

  static void join(Socket outside, int behind) {
    try (outside;
        Socket inside = new Socket(InetAddress.getLoopbackAddress(), behind)) {
      Thread back = new Thread(() -> copy(inside, outside));
      back.start();
      copy(outside, inside);
      back.join();
    } catch (Exception refused) {
      // A client that does not trust the certificate goes away.
    }
  }

  static void copy(Socket from, Socket to) {
    try {
      InputStream in = from.getInputStream();
      OutputStream out = to.getOutputStream();
      in.transferTo(out);
      to.shutdownOutput();
    } catch (Exception closed) {
      // Whoever reads on will see it.
    }
  }
}
