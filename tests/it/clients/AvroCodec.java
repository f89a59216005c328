import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Avro as Apache's Java library writes and reads it, and Apache's Java producer.
 *
 * <pre>
 * java -cp 'JARS/*' AvroCodec.java encode SCHEMA          lines of JSON to lines of hex (Confluent wire format)
 * java -cp 'JARS/*' AvroCodec.java encode                 as encode, lines {"schema", "value"}
 * java -cp 'JARS/*' AvroCodec.java blocking SCHEMA        as encode, arrays and maps in blocks with their sizes
 * java -cp 'JARS/*' AvroCodec.java decode                 lines of hex to lines of JSON
 * java -cp 'JARS/*' AvroCodec.java produce SCHEMA TOPIC   lines {"key", "value"} to Kafka
 * </pre>
 *
 * SCHEMA is a subject, whose latest version is taken from the registry, or a file *.avsc, then under the id 1.
 */
final class AvroCodec {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final HttpClient HTTP = HttpClient.newHttpClient();
  private static final Map<Integer, Schema> BY_ID = new HashMap<>();

  private record Writer(int id, Schema schema) {}

  public static void main(String[] arguments) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    switch (arguments[0]) {
      case "encode" -> encode(arguments.length > 1 ? writer(arguments[1]) : null, lines, false);
      case "blocking" -> encode(writer(arguments[1]), lines, true);
      case "decode" -> decode(lines);
      case "produce" -> produce(writer(arguments[1]), arguments[2], lines);
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  private static void encode(Writer writer, BufferedReader lines, boolean blocking) throws Exception {
    for (String line; (line = lines.readLine()) != null; ) {
      JsonNode item = JSON.readTree(line);
      byte[] value =
          writer != null
              ? framed(writer, item, blocking)
              : framed(writer(item.get("schema").asText()), item.get("value"), blocking);
      System.out.println(HexFormat.of().formatHex(value));
    }
  }

  private static void decode(BufferedReader lines) throws Exception {
    for (String line; (line = lines.readLine()) != null; ) {
      ByteBuffer value = ByteBuffer.wrap(HexFormat.of().parseHex(line.strip()));
      if (value.get() != 0) throw new IOException("not in the Confluent wire format");
      Schema schema = byId(value.getInt());
      byte[] datum = new byte[value.remaining()];
      value.get(datum);
      var decoder = DecoderFactory.get().binaryDecoder(datum, null);
      GenericRecord record = new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
      if (!decoder.isEnd()) throw new IOException("bytes are left after the record");
      System.out.println(JSON.writeValueAsString(toJson(record)));
    }
  }

  private static void produce(Writer writer, String topic, BufferedReader lines) throws Exception {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", "127.0.0.1:" + port("NOTILOG_KAFKA_PORT", "9092"));
    try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
      for (String line; (line = lines.readLine()) != null; ) {
        JsonNode item = JSON.readTree(line);
        byte[] value = framed(writer, item.get("value"), false);
        producer.send(new ProducerRecord<>(topic, item.get("key").asText(), value)).get();
      }
    }
  }

  private static byte[] framed(Writer writer, JsonNode value, boolean blocking) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.write(ByteBuffer.allocate(5).put((byte) 0).putInt(writer.id()).array());
    EncoderFactory factory = EncoderFactory.get();
    BinaryEncoder encoder = blocking ? factory.blockingBinaryEncoder(out, null) : factory.binaryEncoder(out, null);
    new GenericDatumWriter<Object>(writer.schema()).write(toAvro(writer.schema(), value), encoder);
    encoder.flush();
    return out.toByteArray();
  }

  private static Writer writer(String schema) throws Exception {
    if (schema.endsWith(".avsc")) {
      return new Writer(1, new Schema.Parser().parse(Files.readString(Path.of(schema))));
    }
    JsonNode latest = get("/subjects/" + schema + "/versions/latest");
    return new Writer(latest.get("id").asInt(), new Schema.Parser().parse(latest.get("schema").asText()));
  }

  private static Schema byId(int id) throws Exception {
    if (!BY_ID.containsKey(id)) {
      BY_ID.put(id, new Schema.Parser().parse(get("/schemas/ids/" + id).get("schema").asText()));
    }
    return BY_ID.get(id);
  }

  private static JsonNode get(String path) throws Exception {
    String base = "http://127.0.0.1:" + port("NOTILOG_REGISTRY_PORT", "8081") + "/apis/ccompat/v7";
    HttpRequest request = HttpRequest.newBuilder(URI.create(base + path)).build();
    HttpResponse<String> answer = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() != 200) throw new IOException(path + ": " + answer.body());
    return JSON.readTree(answer.body());
  }

  private static String port(String name, String fallback) {
    return System.getenv().getOrDefault(name, fallback);
  }

  private static Object toAvro(Schema schema, JsonNode json) {
    return switch (schema.getType()) {
      case UNION -> {
        if (json.isNull()) yield null;
        Schema branch = schema.getTypes().stream().filter(type -> !type.isNullable()).findFirst().orElseThrow();
        yield toAvro(branch, json);
      }
      case RECORD -> {
        GenericRecord record = new GenericData.Record(schema);
        for (Schema.Field field : schema.getFields()) record.put(field.name(), toAvro(field.schema(), json.get(field.name())));
        yield record;
      }
      case ARRAY -> {
        List<Object> items = new ArrayList<>();
        json.forEach(item -> items.add(toAvro(schema.getElementType(), item)));
        yield items;
      }
      case MAP -> {
        Map<String, Object> entries = new HashMap<>();
        json.properties().forEach(entry -> entries.put(entry.getKey(), toAvro(schema.getValueType(), entry.getValue())));
        yield entries;
      }
      case ENUM -> new GenericData.EnumSymbol(schema, json.asText());
      case STRING -> json.asText();
      case BOOLEAN -> json.asBoolean();
      case INT -> json.asInt();
      case LONG -> json.asLong();
      default -> throw new IllegalArgumentException(schema.toString());
    };
  }

  private static JsonNode toJson(Object value) {
    if (value instanceof GenericRecord record) {
      ObjectNode object = JSON.createObjectNode();
      record.getSchema().getFields().forEach(field -> object.set(field.name(), toJson(record.get(field.pos()))));
      return object;
    }
    if (value instanceof List<?> items) {
      ArrayNode array = JSON.createArrayNode();
      items.forEach(item -> array.add(toJson(item)));
      return array;
    }
    if (value instanceof Map<?, ?> entries) {
      ObjectNode object = JSON.createObjectNode();
      entries.forEach((key, item) -> object.set(key.toString(), toJson(item)));
      return object;
    }
    if (value instanceof CharSequence || value instanceof GenericData.EnumSymbol) {
      return JSON.getNodeFactory().textNode(value.toString());
    }
    return JSON.valueToTree(value);
  }
}
