// A bidder in Go: it sends impressions and clicks, waits until the clicks are billed, and reads the decision on its
// campaign.
//
//	go run . 127.0.0.1:9092 20
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The join waits up to 5 s for an input that is silent, and commits ten times a second.
const patience = 60 * time.Second

func main() {
	kafka := os.Args[1]
	shown, err := strconv.Atoi(os.Args[2])
	check(err)
	campaign := "go-" + uuid.NewString()[:8]

	clicked := send(kafka, campaign, shown)
	clicks := len(clicked)
	fmt.Printf("sent %d impressions and %d clicks of campaign %s\n", shown, clicks, campaign)

	var billedMicros int64
	read(kafka, "ads.outcomes", func(record *kgo.Record) bool {
		var outcome struct {
			Kind         string `json:"kind"`
			ImpressionID string `json:"impression_id"`
			PriceMicros  int64  `json:"price_micros"`
		}
		check(json.Unmarshal(record.Value, &outcome))
		if outcome.Kind == "click" && clicked[outcome.ImpressionID] {
			delete(clicked, outcome.ImpressionID)
			billedMicros += outcome.PriceMicros
		}
		return len(clicked) == 0
	})
	fmt.Printf("billed %d clicks, %.2f in all\n", clicks, float64(billedMicros)/1e6)

	// A bidder keeps the decision with the highest version on each campaign; this one waits for its own.
	read(kafka, "ads.pacing", func(record *kgo.Record) bool {
		var decision struct {
			State  string  `json:"state"`
			Admit  float64 `json:"admit"`
			Clicks int     `json:"clicks"`
		}
		if string(record.Key) != campaign || record.Value == nil {
			return false
		}
		check(json.Unmarshal(record.Value, &decision))
		if decision.Clicks < clicks {
			return false
		}
		fmt.Printf("decided %s: %s, admit %.3f\n", campaign, decision.State, decision.Admit)
		return true
	})
}

// send sends a campaign and impressions of now, every second one clicked, and returns the ids of the clicked ones.
func send(kafka, campaign string, shown int) map[string]bool {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(kafka),
		// Java's, murmur2 of the key; it is also franz-go's default.
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	)
	check(err)
	defer client.Close()
	now, clicked := time.Now().UnixMilli(), map[string]bool{}
	records := []*kgo.Record{record("ads.campaigns", campaign, map[string]any{
		"campaign_id": campaign, "daily_budget_micros": 50_000_000, "version": now,
		"timezone": "Europe/Berlin", "status": "active", "pacing": "asap",
	})}
	for number := range shown {
		id := uuid.NewString()
		records = append(records, record("ads.impressions", id, map[string]any{
			"impression_id": id, "ts": now, "campaign_id": campaign, "creative_id": "banner", "price_micros": 200_000,
		}))
		if number%2 == 0 {
			// The key is the impression's, so that both are in one partition.
			records = append(records, record("ads.clicks", id, map[string]any{
				"click_id": uuid.NewString(), "impression_id": id, "ts": now + 500,
			}))
			clicked[id] = true
		}
	}
	check(client.ProduceSync(context.Background(), records...).FirstErr())
	return clicked
}

func record(topic, key string, value map[string]any) *kgo.Record {
	text, err := json.Marshal(value)
	check(err)
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: text}
}

// read reads all committed records of a topic and what follows, until one is enough.
func read(kafka, topic string, enough func(*kgo.Record) bool) {
	// Every bidder needs every record: without a group, all partitions are read from their first record on.
	client, err := kgo.NewClient(
		kgo.SeedBrokers(kafka),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	check(err)
	defer client.Close()
	limit, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		fetches := client.PollFetches(limit)
		if limit.Err() != nil {
			log.Fatalf("what was awaited did not come in %s within %s", topic, patience)
		}
		for _, record := range fetches.Records() {
			if enough(record) {
				return
			}
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
