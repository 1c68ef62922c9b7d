import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/**
 * What ClickHouse's JDBC driver, and so DBeaver, asks and reads; one line for each question.
 *
 * Arguments: address, user, password, database with clickfold's tables, properties such as "compress=0&decompress=1".
 */
public class Jdbc {
  interface Question {
    Object answer() throws Exception;
  }

  static void ask(String name, Question question) {
    String text;
    try {
      text = String.valueOf(question.answer());
    } catch (SQLException refused) {
      text = "refused " + refused.getErrorCode() + " " + refused.getMessage();
      text = text.substring(0, Math.min(120, text.length()));
    } catch (Exception failure) {
      text = "FAIL " + failure;
    }
    System.out.println(name + "\t" + text.replace("\n", " "));
  }

  static String rows(ResultSet rows, int columns) throws SQLException {
    List<String> first = new ArrayList<>();
    int count = 0;
    while (rows.next()) {
      if (count++ < 3) {
        StringBuilder row = new StringBuilder();
        for (int i = 1; i <= Math.min(columns, rows.getMetaData().getColumnCount()); i++) {
          row.append(i > 1 ? "," : "").append(rows.getString(i));
        }
        first.add(row.toString());
      }
    }
    return count + " rows " + first;
  }

  static String query(Connection connection, String sql) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      return rows(statement.executeQuery(sql), 99);
    }
  }

  public static void main(String[] given) throws Exception {
    String database = given[3];
    String table = "default.jdbc_" + Math.abs(given[4].hashCode());
    Properties properties = new Properties();
    properties.put("user", given[1]);
    properties.put("password", given[2]);
    for (String pair : given[4].split("&")) {
      if (pair.contains("=")) {
        properties.put(pair.split("=")[0], pair.split("=")[1]);
      }
    }
    try (Connection connection = DriverManager.getConnection("jdbc:clickhouse://" + given[0] + "/" + database, properties)) {
      ask("is valid", () -> connection.isValid(3));
      ask("select", () -> query(connection, "SELECT 1, 'a', NULL, [1, 2], map('k', 1), toDateTime64(0, 3, 'UTC')"));
      ask("schemas", () -> rows(connection.getMetaData().getSchemas(null, database), 1));
      ask("views", () -> rows(connection.getMetaData().getTables(null, database, "minutes", new String[] {"VIEW"}), 4));
      ask("columns", () -> rows(connection.getMetaData().getColumns(null, database, "minutes", "campaign_id"), 6));
      ask("primary keys", () -> rows(connection.getMetaData().getPrimaryKeys(null, database, "minute_totals"), 4));
      ask("types", () -> rows(connection.getMetaData().getTypeInfo(), 1).contains(" rows ["));
      ask("functions", () -> rows(connection.getMetaData().getFunctions(null, null, "%"), 1).contains(" rows ["));
      ask("DBeaver's tables", () -> query(connection,
          "SELECT name, engine, total_rows, comment FROM system.tables WHERE database = '" + database + "' AND name = 'minutes'"));
      ask("view", () -> query(connection, "SELECT campaign_id, sum(impressions) FROM minutes GROUP BY 1 ORDER BY 1"));
      ask("prepared", () -> {
        PreparedStatement statement = connection.prepareStatement("SELECT ?, ? FROM minutes LIMIT 1");
        statement.setString(1, "a'b");
        statement.setInt(2, 3);
        return rows(statement.executeQuery(), 2);
      });
      ask("create", () -> connection.createStatement().execute("CREATE OR REPLACE TABLE " + table
          + " (a UInt32, s Nullable(String), d DateTime64(3)) ENGINE = MergeTree ORDER BY a"));
      ask("insert", () -> connection.createStatement().executeUpdate("INSERT INTO " + table + " (a, s) VALUES (1, 'x')"));
      ask("batch", () -> {
        PreparedStatement statement = connection.prepareStatement("INSERT INTO " + table + " (a, s, d) VALUES (?, ?, ?)");
        for (int i = 0; i < 1000; i++) {
          statement.setInt(1, i + 10);
          statement.setString(2, i % 2 == 0 ? null : "v" + i);
          statement.setTimestamp(3, new Timestamp(1700000000000L + i));
          statement.addBatch();
        }
        return statement.executeBatch().length;
      });
      ask("read back", () -> query(connection, "SELECT count(), sum(a), countIf(s IS NULL) FROM " + table));
      ask("many rows", () -> query(connection, "SELECT number, toString(number) FROM numbers(300000)"));
      ask("unknown column", () -> query(connection, "SELECT nope"));
      ask("unknown column of an insert", () -> connection.createStatement().executeUpdate("INSERT INTO " + table + " (nope) VALUES (1)"));
      ask("unknown setting", () -> query(connection, "SELECT 1 SETTINGS nope = 1"));
      ask("a file", () -> query(connection, "SELECT * FROM file('/etc/hostname')"));
      ask("max rows", () -> {
        Statement statement = connection.createStatement();
        statement.setMaxRows(5);
        return rows(statement.executeQuery("SELECT number FROM numbers(100)"), 1);
      });
      ask("time is over", () -> {
        Statement statement = connection.createStatement();
        statement.setQueryTimeout(1);
        return rows(statement.executeQuery("SELECT count() FROM numbers(100000000000) WHERE NOT ignore(sipHash64(number))"), 1);
      });
      ask("drop", () -> connection.createStatement().execute("DROP TABLE " + table));
    }
  }
}
