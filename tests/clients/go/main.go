// What clickhouse-go, and so Grafana's ClickHouse data source, asks and reads over HTTP; one line for each question.
//
// Arguments: address, user, password, database with clickfold's tables, compression. The data source's settings and
// SQL are those of github.com/grafana/clickhouse-datasource (pkg/plugin/driver.go, pkg/macros/macros.go,
// src/data/CHDatasource.ts), with its macros written out.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

var methods = map[string]*clickhouse.Compression{
	"none":    nil,
	"lz4":     {Method: clickhouse.CompressionLZ4},
	"zstd":    {Method: clickhouse.CompressionZSTD},
	"gzip":    {Method: clickhouse.CompressionGZIP},
	"deflate": {Method: clickhouse.CompressionDeflate},
	"br":      {Method: clickhouse.CompressionBrotli},
}

// A type of each layout; the engine's answers are the same at every run.
const types = `SELECT toUInt8(number) AS u8, toInt64(-number) AS i64, toInt256(number) AS i256, number / 4 AS f64,
 number % 2 = 0 AS even, toDate(number) AS d, toDateTime(number, 'Europe/Berlin') AS dt, toDateTime(number) AS utc,
 toDateTime64(number, 3, 'Asia/Tokyo') AS dt64, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS id,
 toIPv4('1.2.3.4') AS v4, toDecimal64(number, 4) AS dec, CAST('b', 'Enum8(\'a\' = 1, \'b\' = 2)') AS e,
 toFixedString('abc', 4) AS fs, repeat('x', number * 60) AS s, if(number = 1, NULL, 'n') AS ns,
 toLowCardinality(toNullable(if(number = 1, NULL, 'lc'))) AS lc, range(number) AS a, [['p'], [], ['q', 'r']] AS aa,
 map('k', number) AS m, (number, 'two') AS tuple, [('x', 1)]::Nested(k String, v UInt8) AS nest,
 NULL AS nothing, (1.5, 2.5)::Point AS point FROM numbers(3)`

var grafana = []string{
	"SELECT toStartOfInterval(toDateTime(minute), INTERVAL 60 second) AS time, sum(impressions) AS impressions FROM minutes " +
		"WHERE minute >= toDateTime(1699984000) AND minute <= toDateTime(1699999999) GROUP BY time ORDER BY time LIMIT 1000",
	"SELECT toStartOfInterval(toDateTime64(minute, 3), INTERVAL 60000 millisecond) AS time, campaign_id, count() AS n FROM minutes " +
		"WHERE minute >= fromUnixTimestamp64Milli(1699984000000) AND minute <= fromUnixTimestamp64Milli(1699999999000) " +
		"GROUP BY time, campaign_id ORDER BY time, campaign_id",
	"SELECT minute AS \"time\", clicks FROM minutes WHERE (toDate(minute) >= toDate('2023-11-14') AND toDate(minute) <= toDate('2023-11-15')) " +
		"AND (minute >= toDateTime(1699984000) AND minute <= toDateTime(1699999999)) ORDER BY time LIMIT 3",
	"SELECT campaign_id, count() AS n FROM minutes GROUP BY campaign_id ORDER BY campaign_id\nsettings additional_table_filters={'minute_totals' : ' campaign_id = \\'k1\\' '}",
	"SHOW DATABASES",
	"SHOW TABLES",
	"DESC TABLE minutes",
	"SELECT name, type, table FROM system.columns WHERE database = currentDatabase() AND table = 'minutes'",
	"SELECT database, table, name, type, comment FROM system.columns WHERE database = currentDatabase() ORDER BY database, table, position",
	"SELECT name, is_aggregate, case_insensitive, alias_to, origin, description, syntax, arguments, returned_value, examples, categories FROM system.functions ORDER BY name LIMIT 10000",
	"select distinct campaign_id from minutes order by 1 limit 1000",
	"SELECT getSetting('max_threads') SETTINGS max_threads = 2",
	"SELECT 1 WHERE 0",
}

func say(name string, answer any, err error) {
	var refused *clickhouse.Exception
	text := fmt.Sprint(answer)
	if errors.As(err, &refused) {
		text = fmt.Sprintf("refused %d %.60s", refused.Code, refused.Message)
	} else if err != nil {
		text = "FAIL " + err.Error()
	}
	fmt.Printf("%s\t%s\n", name, strings.ReplaceAll(text, "\n", " "))
}

// As Grafana's sqlutil reads rows: into what the driver says each column scans to.
func table(db *sql.DB, query string) (any, error) {
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	first, count := "", 0
	for rows.Next() {
		row := make([]any, len(columns))
		for i, column := range columns {
			row[i] = reflect.New(column.ScanType()).Interface()
		}
		if err := rows.Scan(row...); err != nil {
			return nil, err
		}
		if count++; count <= 3 {
			for i, cell := range row {
				value := reflect.ValueOf(cell).Elem()
				for value.Kind() == reflect.Pointer && !value.IsNil() {
					value = value.Elem()
				}
				if i == 0 {
					first += "|"
				}
				first += fmt.Sprint(value.Interface()) + ";"
			}
		}
	}
	if len(columns) > 20 && count > 3 || len(first) > 2000 {
		first = first[:60]
	}
	return fmt.Sprintf("%d rows %s", count, first), rows.Err()
}

func main() {
	address, user, password, database, method := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	ctx := context.Background()
	options := &clickhouse.Options{
		Addr:        []string{address},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: database, Username: user, Password: password},
		Compression: methods[method],
		DialTimeout: 10 * time.Second,
		ReadTimeout: 60 * time.Second,
	}
	connection, err := clickhouse.Open(options)
	if err != nil {
		say("open", nil, err)
		os.Exit(1)
	}
	say("ping", "ok", connection.Ping(ctx))
	db := clickhouse.OpenDB(options)
	db.SetMaxOpenConns(1)
	answer, err := table(db, types)
	say("types", answer, err)
	var text string
	err = connection.QueryRow(ctx, "SELECT ?", "a'b").Scan(&text)
	say("bound", text, err)
	named := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"p": "hi"}))
	err = connection.QueryRow(named, "SELECT {p:String}").Scan(&text)
	say("named", text, err)
	name := "default.go_" + method
	err = connection.Exec(ctx, "CREATE OR REPLACE TABLE "+name+
		" (a UInt32, s Nullable(String), d DateTime64(3), l LowCardinality(String), m Map(String, UInt8)) ENGINE = MergeTree ORDER BY a")
	say("create", "ok", err)
	batch, err := connection.PrepareBatch(ctx, "INSERT INTO "+name+" (a, s, d, l, m)")
	for i := 0; err == nil && i < 1000; i++ {
		when := time.UnixMilli(1700000000000 + int64(i))
		err = batch.Append(uint32(i), nil, when, fmt.Sprint("l", i%7), map[string]uint8{"k": uint8(i % 256)})
	}
	if err == nil {
		err = batch.Send()
	}
	say("batch", "ok", err)
	answer, err = table(db, "SELECT count(), sum(a), countIf(s IS NULL), max(d), uniq(l), sum(m['k']) FROM "+name)
	say("read back", answer, err)
	err = connection.AsyncInsert(ctx, "INSERT INTO "+name+" VALUES (7, 'x', 0, 'y', map())", true)
	say("async insert", "ok", err)
	rows, err := connection.Query(ctx, "SELECT number, toString(number) FROM numbers(300000)")
	count := 0
	if err == nil {
		for rows.Next() {
			count++
		}
		err = rows.Err()
	}
	say("many rows", count, err)
	err = connection.QueryRow(ctx, "SELECT nope").Scan(&text)
	say("unknown column", "no error", err)
	err = connection.Exec(ctx, "INSERT INTO "+name+" (nope) VALUES (1)")
	say("unknown column of an insert", "no error", err)
	// The data source asks for gzip over HTTP.
	for number, query := range grafana {
		if method == "gzip" {
			answer, err := table(db, query)
			say(fmt.Sprintf("grafana %d", number+1), answer, err)
		}
	}
	say("drop", "ok", connection.Exec(ctx, "DROP TABLE "+name))
}
