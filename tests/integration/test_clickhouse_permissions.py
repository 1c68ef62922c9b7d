"""No statement leads out of the embedded ClickHouse: to a file, a program or another host, however it is written."""

import socket
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse
from tests.integration.clickhouse_fixture import request

pytestmark = pytest.mark.clickhouse

SECRET = "only the file has this"
# @S is a file with the secret, @N a file that must not appear, @H a host that must not be connected to.
READS = """
SELECT file('@S')
SELECT `fi\\x6ce`('@S')
SELECT/**/FILE/* */('@S') -- x
SELECT file('@S') SETTINGS readonly = 0, limit = 1
SELECT arrayMap(file, ['@S'])
SELECT * APPLY(file) FROM (SELECT '@S')
SELECT * APPLY(x -> file(x)) FROM (SELECT '@S')
SHOW TABLES WHERE name = file('@S')
SELECT * FROM view(SELECT file('@S'))
SELECT * FROM file('@S', LineAsString)
SELECT * FROM `@S`
SELECT * FROM no_files.`@S`
EXISTS TABLE no_files.`@S`
SELECT * FROM loop('no_files', '@S')
SELECT * FROM filesystem('/')
SELECT * FROM sqlite('@S', 't')
SELECT * FROM icebergLocal('@S')
SELECT * FROM deltaLakeLocal('@S')
SELECT * FROM python('os')
SELECT * FROM eval('SELECT file(''@S'')')
SELECT * FROM executable('cat @S', 'TSV', 'a String')
SELECT * FROM format(Values, 'a String', $$(file('@S'))$$)
SELECT * FROM format(concat('Val', 'ues'), 'a String', $$(file('@S'))$$)
SELECT * FROM format(Template, 'a String', 'x') SETTINGS format_template_row = '@S'
SELECT 1 SETTINGS additional_result_filter = 'file(''@S'') = 1'
SELECT 1 SETTINGS filter = 'file(''@S'') = 1'
DESCRIBE TABLE file('@S')
EXPLAIN SELECT * FROM file('@S', LineAsString)
KILL QUERY WHERE file('@S') = ''
INSERT INTO made FROM INFILE '@S' FORMAT LineAsString
INSERT INTO made FROM/**/INFILE/**/'@S' FORMAT LineAsString
INSERT INTO made # FROM INFILE '@S' FORMAT LineAsString -- '
INSERT INTO made VALUES (file('@S'))
INSERT INTO made VALUES ((SELECT file('@S')))
INSERT INTO made VALUES (file('@S')) ('two without a comma')
INSERT INTO made FORMAT "Values" (file('@S'))
INSERT INTO made SETTINGS input_format_values_interpret_expressions = 1 VALUES (file('@S')) ('two')
CREATE TABLE t (a Int8, b String DEFAULT file('@S')) ENGINE = Memory
CREATE VIEW v (a String) DEFINER = default SQL SECURITY DEFINER AS SELECT file('@S') AS a
CREATE MATERIALIZED VIEW v REFRESH EVERY 1 YEAR ENGINE = Memory AS SELECT file('@S') AS a
CREATE TABLE t (a String) ENGINE = File(TSV, '@S')
CREATE TEMPORARY TABLE t (a String) ENGINE = File(TSV, '@S')
CREATE TABLE t AS file('@S')
CREATE DATABASE t ENGINE = Filesystem('/')
CREATE DATABASE t ENGINE = Overlay('default', 'no_files')
CREATE DATABASE t ENGINE = Backup('x', File('@S'))
CREATE DICTIONARY t (k UInt64) PRIMARY KEY k SOURCE(FILE(PATH '@S' FORMAT 'TSV')) LAYOUT(FLAT()) LIFETIME(0)
CREATE DICTIONARY t (k String) PRIMARY KEY k SOURCE(CLICKHOUSE(QUERY 'SELECT file(1)')) LAYOUT(DIRECT())
CREATE DICTIONARY t (k String) PRIMARY KEY k SOURCE(CLICKHOUSE(TABLE 'made' WHERE 'file(1)')) LAYOUT(DIRECT())
ATTACH TABLE t FROM '@S' (a Int8) ENGINE = MergeTree ORDER BY a
RESTORE TABLE made FROM File('@S')
"""
WRITES = """
SELECT 1 INTO OUTFILE '@N'
SELECT 1 INTO/* */OUTFILE/**/'@N' APPEND FORMAT TSVRaw
FROM numbers(3) SELECT number INTO OUTFILE '@N' TRUNCATE
(SELECT 1) INTO OUTFILE '@N'
SHOW TABLES INTO OUTFILE '@N'
DESCRIBE made INTO OUTFILE '@N'
EXPLAIN SELECT 1 INTO OUTFILE '@N'
CHECK TABLE made INTO OUTFILE '@N'
KILL QUERY WHERE 1 INTO OUTFILE '@N'
SELECT 1; SELECT 2 INTO OUTFILE '@N'
SELECT 1 INTO OUTFILE '@N'; no sql
no sql; SELECT 1 INTO OUTFILE '@N'
INSERT INTO FUNCTION file('@N', 'TSV', 'a Int8') SELECT 1
INSERT INTO FUNCTION file('@N', 'TSV', 'a Int8') VALUES (1)
INSERT INTO FUNCTION file('@N', 'TSV', 'a Int8') FORMAT CSV 1
INSERT INTO FUNCTION executable('touch @N', 'TSV', 'a String') SELECT 'x'
SELECT * FROM sqlite('@N', 't')
SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '@N', format_schema = 'x:y'
SELECT * FROM format(CSV, 'a Int8', 'x') SETTINGS input_format_record_errors_file_path = '@N'
CREATE TABLE t (a Int8) ENGINE = EmbeddedRocksDB(0, '@N') PRIMARY KEY a
CREATE TABLE t (a Int8) ENGINE = FileLog('@N', 'TSV')
CREATE TABLE t (a Int8) ENGINE = Executable('touch', 'TSV')
CREATE TABLE t (a Int8) ENGINE = ExecutablePool('touch', 'TSV')
CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local', path = '@N/')
CREATE DATABASE t ENGINE = SQLite('@N')
CREATE DATABASE t ENGINE = Atomic SETTINGS disk = disk(type = 'local', path = '@N/')
ALTER TABLE made MODIFY SETTING disk = disk(type = 'local', path = '@N/')
CREATE DICTIONARY t (k UInt64) PRIMARY KEY k SOURCE(EXECUTABLE(COMMAND 'touch @N' FORMAT 'TSV')) LAYOUT(DIRECT())
CREATE FUNCTION f AS x -> file(x)
CREATE FUNCTION f ENGINE = Executable
BACKUP TABLE made TO Disk('default', '@N')
BACKUP TABLE made TO File('@N')
"""
CONNECTS = """
SELECT * FROM url('http://@H/', LineAsString)
SELECT * FROM s3('http://@H/bucket/x', 'k', 's', 'LineAsString')
SELECT * FROM gcs('http://@H/bucket/x', 'k', 's', 'LineAsString')
SELECT * FROM azureBlobStorage('http://@H/', 'c', 'b', 'n', 'k', 'LineAsString', 'auto', 'a String')
SELECT * FROM hdfs('hdfs://@H/x', LineAsString)
SELECT * FROM remote('@H', 'system', 'one')
SELECT * FROM remoteSecure('@H', 'system', 'one')
SELECT * FROM cluster('default', 'system', 'one')
SELECT * FROM urlCluster('default', 'http://@H/', LineAsString)
SELECT * FROM mysql('@H', 'd', 't', 'u', 'p')
SELECT * FROM postgresql('@H', 'd', 't', 'u', 'p')
SELECT * FROM mongodb('@H', 'd', 't', 'u', 'p', 'a Int8')
SELECT * FROM redis('@H', 'k', 'k String')
SELECT * FROM odbc('DSN=x', 'd', 't')
SELECT * FROM jdbc('x', 'd', 't')
SELECT * FROM iceberg('http://@H/bucket/x')
SELECT * FROM deltaLake('http://@H/bucket/x')
SELECT * FROM ytsaurus('http://@H', '//x', 't', 'a String')
DESCRIBE TABLE url('http://@H/x.csv')
INSERT INTO FUNCTION url('http://@H/', 'TSV', 'a Int8') SELECT 1
INSERT INTO FUNCTION remote('@H', 'd', 't') VALUES (1)
CREATE TABLE t (a Int8) ENGINE = URL('http://@H/', 'TSV')
CREATE TABLE t (a Int8) ENGINE = S3('http://@H/bucket/x', 'TSV')
CREATE TABLE t (a Int8) ENGINE = HDFS('hdfs://@H/x', 'TSV')
CREATE TABLE t (a Int8) ENGINE = MySQL('@H', 'a', 'b', 'c', 'd')
CREATE TABLE t (a Int8) ENGINE = PostgreSQL('@H', 'a', 'b', 'c', 'd')
CREATE TABLE t (a Int8) ENGINE = MongoDB('@H', 'a', 'b', 'c', 'd')
CREATE TABLE t (a Int8) ENGINE = Kafka('@H', 't', 'g', 'TSV')
CREATE TABLE t (a Int8) ENGINE = Distributed('c', 'd', 't')
CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'web', endpoint = 'http://@H/')
CREATE MATERIALIZED VIEW v ENGINE = URL('http://@H/', 'TSV') AS SELECT a FROM made
CREATE DATABASE t ENGINE = MySQL('@H', 'd', 'u', 'p')
CREATE DATABASE t ENGINE = PostgreSQL('@H', 'd', 'u', 'p')
CREATE DICTIONARY t (k UInt64) PRIMARY KEY k SOURCE(HTTP(URL 'http://@H/' FORMAT 'TSV')) LAYOUT(DIRECT())
CREATE DICTIONARY t (k UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(HOST 'localhost' TABLE 't')) LAYOUT(DIRECT())
CREATE DICTIONARY t (k UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(HOST 'h' USER 'u' TABLE 't')) LAYOUT(DIRECT())
CREATE DICTIONARY t (k UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(HOST '127.0.0.1' PORT 1 TABLE 't')) LAYOUT(DIRECT())
CREATE DICTIONARY t (k UInt64) PRIMARY KEY k SOURCE(REDIS(HOST '127.0.0.1' PORT 1)) LAYOUT(DIRECT())
CREATE NAMED COLLECTION n AS url = 'http://@H/'
BACKUP TABLE made TO S3('http://@H/bucket/x', 'k', 's')
"""
RIGHTS = """
GRANT ALL ON *.* TO default
CREATE USER u
CREATE ROLE r
CREATE ROW POLICY p ON made USING 1 TO ALL
ALTER USER default DEFAULT ROLE ALL
SYSTEM SHUTDOWN
SYSTEM RELOAD CONFIG
SYSTEM RELOAD USERS
SYSTEM UNFREEZE WITH NAME 'x'
SYSTEM ENABLE FAILPOINT x
EXECUTE AS default SELECT 1
SELECT 1 SETTINGS dialect = 'kusto'
"""
ALLOWED = """
SELECT format('{} {}', 1, 2) AS x
SELECT * APPLY(toString) FROM (SELECT 1)
SELECT * FROM numbers(3)
SHOW TABLES LIKE '%file%'
INSERT INTO made VALUES ('a'), (concat('b', 'c'))
INSERT INTO made VALUES ('a') ('b');
INSERT INTO FUNCTION null('a Int8') FORMAT CSV 1
SYSTEM STOP MERGES made
SHOW POLICIES
SHOW USERS
SELECT count() FROM system.roles
OPTIMIZE TABLE made FINAL
CHECK TABLE made
KILL QUERY WHERE query = 'none'
CREATE DICTIONARY d (a String) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 'made')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)
ALTER TABLE made ADD COLUMN b UInt8 DEFAULT 1
"""


def lines(table: str) -> list[str]:
    """The statements of a table above."""
    return table.strip().splitlines()


class Outside:
    """What a statement could reach: a file, a file to write, a host."""

    def __init__(self, folder: Path, port: int) -> None:
        self.secret, self.new = folder / "secret", folder / "new"
        self.secret.write_text(f"{SECRET}\n")
        self.connections = 0
        self._host = f"127.0.0.1:{port}"

    def sql(self, statement: str) -> str:
        """The statement with names of these."""
        names = {"@S": self.secret, "@N": self.new, "@H": self._host}
        for sign, name in names.items():
            statement = statement.replace(sign, str(name))
        return statement


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Outside(tmp_path, listening.getsockname()[1])

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                found.connections += 1
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield found
        # Wakes the thread.
        socket.create_connection(listening.getsockname()).close()


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("statement", [*lines(READS), *lines(WRITES), *lines(CONNECTS), *lines(RIGHTS)])
def test_statement_that_leads_outside_is_refused(
    clickhouse: ClickHouse, database: Client, outside: Outside, statement: str, method: str
) -> None:
    database.command("CREATE TABLE made (a String) ENGINE = MergeTree ORDER BY a")
    sql, name = outside.sql(statement), str(database.database)
    if method == "POST":
        status, _, body = request(clickhouse, sql.encode(), database=name)
    else:
        status, _, body = request(clickhouse, method="GET", query=sql, database=name)
    assert status >= 400, body
    assert SECRET.encode() not in body
    assert not outside.new.exists()
    assert outside.connections == 0
    assert database.query("SELECT * FROM made").result_rows == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filter", "file('@S') = ''"),
        ("format_template_row", "@S"),
        ("output_format_schema", "@N"),
        ("dialect", "kusto"),
        ("database", "no_files"),
    ],
)
def test_parameter_of_the_address_does_not_lead_outside(
    clickhouse: ClickHouse, outside: Outside, name: str, value: str
) -> None:
    query = urllib.parse.urlencode({name: outside.sql(value)})
    status, _, body = request(clickhouse, b"SELECT 1", path=f"/?{query}")
    assert status >= 400, body


@pytest.mark.parametrize("statement", lines(ALLOWED))
def test_statement_that_stays_inside_is_served(clickhouse: ClickHouse, database: Client, statement: str) -> None:
    database.command("CREATE TABLE made (a String) ENGINE = MergeTree ORDER BY a")
    status, _, body = request(clickhouse, statement.encode(), database=str(database.database))
    assert status == 200, body


def test_long_values_are_literals_only(clickhouse: ClickHouse, database: Client, outside: Outside) -> None:
    database.command("CREATE TABLE made (a String) ENGINE = MergeTree ORDER BY a")
    rows = ", ".join(f"('{number}')" for number in range(10_000))
    name = str(database.database)
    assert request(clickhouse, f"INSERT INTO made VALUES {rows}".encode(), database=name)[0] == 200
    body = outside.sql(f"INSERT INTO made VALUES {rows}, (file('@S'))").encode()
    assert request(clickhouse, body, database=name, input_format_values_interpret_expressions="1")[0] >= 400
    assert database.command("SELECT count() FROM made") == 10_000


def test_tables_of_an_earlier_version_in_default_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "metadata"
    with ClickHouse(tmp_path) as server:
        assert request(server, b"CREATE TABLE default.old (a Int8) ENGINE = MergeTree ORDER BY a")[0] == 200
        assert request(server, b"INSERT INTO default.old VALUES (1)")[0] == 200
    # chDB with its own settings writes no description of this database.
    (folder / "default.sql").unlink()
    assert (folder / "default").is_symlink()
    with ClickHouse(tmp_path) as server:
        assert request(server, b"SELECT * FROM default.old")[2] == b"1\n"
