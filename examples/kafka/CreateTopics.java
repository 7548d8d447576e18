import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/** Creates topics: {@code CreateTopics host:port name:partitions[:cleanup.policy] ...}. */
public final class CreateTopics {
    public static void main(String[] arguments) throws Exception {
        List<NewTopic> topics = new ArrayList<>();
        for (int at = 1; at < arguments.length; at++) {
            String[] part = arguments[at].split(":");
            NewTopic topic = new NewTopic(part[0], Optional.of(Integer.parseInt(part[1])), Optional.empty());
            topics.add(part.length > 2 ? topic.configs(Map.of("cleanup.policy", part[2])) : topic);
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            admin.createTopics(topics).all().get();
        }
    }
}
