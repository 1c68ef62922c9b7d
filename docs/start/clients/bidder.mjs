// A bidder in JavaScript, for Node: it sends impressions and clicks, waits until the clicks are billed, and reads the
// decision on its campaign. Needs the package kafkajs, without a codec.
//
//     npm ci && node bidder.mjs 127.0.0.1:9092 20

import { randomUUID } from 'node:crypto'
import kafkajs from 'kafkajs'

const { Kafka, Partitioners, logLevel } = kafkajs
// The join waits up to 5 s for an input that is silent, and commits ten times a second.
const PATIENCE_MS = 60_000
const [address, count] = process.argv.slice(2)
const shown = Number(count)
const campaign = `node-${randomUUID().slice(0, 8)}`
const kafka = new Kafka({ brokers: [address], logLevel: logLevel.ERROR })

// Sends a campaign and impressions of now, every second one clicked; returns the ids of the clicked ones.
async function send() {
  // kafkajs 2 has Java's partitioner, murmur2 of the key; the one of kafkajs 1, LegacyPartitioner, is another.
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent: true })
  const now = Date.now()
  const ids = Array.from({ length: shown }, () => randomUUID())
  const clicked = ids.filter((_, number) => number % 2 === 0)
  const message = (key, value) => ({ key, value: JSON.stringify(value) })
  await producer.connect()
  await producer.sendBatch({
    topicMessages: [
      {
        topic: 'ads.campaigns',
        messages: [
          message(campaign, {
            campaign_id: campaign,
            daily_budget_micros: 50_000_000,
            version: now,
            timezone: 'Europe/Berlin',
            status: 'active',
            pacing: 'asap',
          }),
        ],
      },
      {
        topic: 'ads.impressions',
        messages: ids.map((id) =>
          message(id, {
            impression_id: id,
            ts: now,
            campaign_id: campaign,
            creative_id: 'banner',
            price_micros: 200_000,
          })
        ),
      },
      {
        topic: 'ads.clicks',
        // The key is the impression's, so that both are in one partition.
        messages: clicked.map((id) => message(id, { click_id: randomUUID(), impression_id: id, ts: now + 500 })),
      },
    ],
  })
  await producer.disconnect()
  return new Set(clicked)
}

// Reads all committed records of a topic and what follows, until one is enough.
async function read(topic, enough) {
  // kafkajs reads by groups only. Every bidder needs every record, so each has a group of its own and commits nothing.
  const consumer = kafka.consumer({ groupId: `bidder-${randomUUID()}`, readUncommitted: false })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise((resolve, reject) => {
    const late = () => reject(new Error(`what was awaited did not come in ${topic} within ${PATIENCE_MS} ms`))
    const timer = setTimeout(late, PATIENCE_MS)
    let found = false
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ message }) => {
        // kafkajs hands over the rest of its batch, too.
        if (found || message.value === null || !enough(message.key?.toString(), JSON.parse(message.value))) return
        found = true
        clearTimeout(timer)
        resolve()
      },
    })
  })
  await consumer.disconnect()
}

const clicked = await send()
const clicks = clicked.size
console.log(`sent ${shown} impressions and ${clicks} clicks of campaign ${campaign}`)

let billedMicros = 0
await read('ads.outcomes', (_, outcome) => {
  if (outcome.kind === 'click' && clicked.delete(outcome.impression_id)) billedMicros += outcome.price_micros
  return clicked.size === 0
})
console.log(`billed ${clicks} clicks, ${(billedMicros / 1e6).toFixed(2)} in all`)

// A bidder keeps the decision with the highest version on each campaign; this one waits for its own.
await read('ads.pacing', (key, decision) => {
  if (key !== campaign || decision.clicks < clicks) return false
  console.log(`decided ${campaign}: ${decision.state}, admit ${decision.admit.toFixed(3)}`)
  return true
})
