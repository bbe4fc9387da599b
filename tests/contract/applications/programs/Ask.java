import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Java's own HTTP client with its defaults: over plain http it offers HTTP/2 in the first request of a connection. */
public class Ask {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        var embedding = "{\"input\": [\"hello\", \"world\"], \"dimensions\": 2}";
        var reranking = "{\"query\": \"a\", \"documents\": [\"b\", \"c\"], \"return_documents\": false}";
        for (var turn = 0; turn < 2; turn++) {
            System.out.println(post(arguments[0] + "/v1/embeddings", embedding));
            System.out.println(post(arguments[0] + "/inference/v1/rerank", reranking));
        }
    }

    private static String post(String address, String body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(address))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
        var answer = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
        return answer.statusCode() + " " + answer.body();
    }
}
