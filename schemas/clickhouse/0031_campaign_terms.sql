-- All terms of a campaign, also those for experts: a lifetime budget, a curve, bounds of the multiplier, an hourly cap,
-- day-parting, a shared budget, a cap of frequency. Rows of before have the defaults.
ALTER TABLE campaign_history_rows
    ADD COLUMN IF NOT EXISTS lifetime_budget_micros Nullable(Int64) COMMENT 'millionths of currency; of the whole flight; null: no bound',
    ADD COLUMN IF NOT EXISTS curve Array(Float64) COMMENT 'with pacing curve: shares of the day''s budget, of 24 or 96 parts of the local day; else empty',
    ADD COLUMN IF NOT EXISTS min_bid_multiplier Nullable(Float64) COMMENT 'the least that pacing multiplies bids by; null: 0.05',
    ADD COLUMN IF NOT EXISTS max_bid_multiplier Nullable(Float64) COMMENT 'the most that pacing multiplies bids by; null: 1',
    ADD COLUMN IF NOT EXISTS hourly_cap_micros Nullable(Int64) COMMENT 'millionths of currency; of each clock hour of timezone; null: no bound',
    ADD COLUMN IF NOT EXISTS dayparts String COMMENT 'hours of the week in which it serves, by the clock of timezone; empty: all',
    ADD COLUMN IF NOT EXISTS budget_id String COMMENT 'the budget that it shares with others; empty: none',
    ADD COLUMN IF NOT EXISTS shared_budget_micros Nullable(Int64) COMMENT 'millionths of currency; of a day of all campaigns of budget_id; null: none is shared',
    ADD COLUMN IF NOT EXISTS priority UInt8 COMMENT 'in the shared budget: higher ones have their money first',
    ADD COLUMN IF NOT EXISTS frequency_cap Nullable(UInt32) COMMENT 'impressions of one user in frequency_period_s; null: no bound',
    ADD COLUMN IF NOT EXISTS frequency_period_s Nullable(UInt32) COMMENT 'seconds; null: no bound';

ALTER TABLE campaign_history_rows
    COMMENT COLUMN pacing 'even, flat, asap or curve; empty of a withdrawal';

-- A view with * shows new columns only after it is created again.
CREATE OR REPLACE VIEW campaign_history AS
SELECT
    * EXCEPT (run),
    minOrNull(in_force_from) OVER (
        PARTITION BY campaign_id ORDER BY number ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS in_force_until
FROM campaign_history_rows FINAL
WHERE run = '';

ALTER TABLE campaign_history MODIFY COMMENT 'A change of a campaign, and from when to when it was in force';

ALTER TABLE campaign_history COMMENT COLUMN in_force_until 'when a later change came into force; null: none has yet';

CREATE OR REPLACE VIEW campaigns AS
SELECT * EXCEPT (run, number, in_force_from, source_partition, source_offset, withdrawn)
FROM campaign_history_rows FINAL
WHERE run = '' AND NOT withdrawn
ORDER BY number DESC
LIMIT 1 BY campaign_id;

ALTER TABLE campaigns MODIFY COMMENT 'The latest version of a campaign, also after it was withdrawn';

CREATE OR REPLACE DICTIONARY campaign_facts
(
    campaign_id String,
    advertiser_id String DEFAULT '',
    status String DEFAULT '',
    pacing String DEFAULT '',
    daily_budget_micros Int64 DEFAULT 0,
    max_bid_micros Nullable(Int64),
    currency String DEFAULT '',
    timezone String DEFAULT 'UTC',
    start_time Nullable(DateTime64(3, 'UTC')),
    end_time Nullable(DateTime64(3, 'UTC')),
    lifetime_budget_micros Nullable(Int64),
    curve Array(Float64),
    min_bid_multiplier Nullable(Float64),
    max_bid_multiplier Nullable(Float64),
    hourly_cap_micros Nullable(Int64),
    dayparts String DEFAULT '',
    budget_id String DEFAULT '',
    shared_budget_micros Nullable(Int64),
    priority UInt8 DEFAULT 0,
    frequency_cap Nullable(UInt32),
    frequency_period_s Nullable(UInt32)
)
PRIMARY KEY campaign_id
SOURCE(CLICKHOUSE(TABLE 'campaigns'))
LIFETIME(MIN 30 MAX 60)
LAYOUT(COMPLEX_KEY_HASHED())
COMMENT 'Campaigns by id; _micros are millionths of currency, timezone is an IANA name';
