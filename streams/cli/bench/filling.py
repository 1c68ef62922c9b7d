"""SQL that fills ClickHouse with made-up rows for benchmarks. The server computes them, the same ones each time."""

from typing import Final

START: Final = "2026-11-01 00:00:00"
DAYS: Final = 7

# Columns creative_id to arm, computed from the hash `h` and the number `k` of the campaign.
_CREATIVE_TO_ARM: Final = """
    campaign || '-' || toString(intDiv(h, 7) % 50),
    'p' || toString(intDiv(h, 11) % 20),
    ['US', 'JP', 'DE', 'GB', 'FR', 'BR', 'IN', 'KR'][1 + intDiv(h, 13) % 8],
    ['mobile', 'desktop', 'tablet'][1 + intDiv(h, 17) % 3],
    if(k % 2 = 0, 'colour', ''),
    if(k % 2 = 0, ['blue', 'green'][1 + intDiv(h, 19) % 2], '')
""".strip()
# Every statement takes `all`, the rows of all inserts, and `first` and `count`, the rows of this one.
# There are 1,000 campaigns with 50 creatives each, 20 placements, 8 countries, 3 devices and 2 arms.
TOTALS = f"""
INSERT INTO minute_totals (run, minute, advertiser_id, campaign_id, creative_id, placement, country, device, experiment,
    arm, join_partition, version, final, impressions, attributed_clicks, attributed_spend_micros, expected_clicks_nano,
    expected_spend_micros, clicks, repeats, spend_micros)
WITH
    cityHash64(number) AS h,
    toUInt32(1000 * pow(intDiv(h, 31) % 1_000_000 / 1e6, 2)) AS k,
    h % 97 = 0 AS clicked
SELECT
    '',
    toStartOfMinute(toDateTime('{START}', 'UTC') + toUInt32(number * {DAYS * 86_400} / {{all:UInt64}})),
    'a' || leftPad(toString(intDiv(k, 4)), 3, '0'),
    'c' || leftPad(toString(k), 4, '0') AS campaign,
    {_CREATIVE_TO_ARM},
    number % 4,
    1_790_000_000_000_000 + number,
    1,
    1 + (h % 3 = 0),
    clicked,
    clicked * (100_000 + k * 1_000),
    10_000_000 + h % 1_000_000,
    1_000 + h % 1_000,
    clicked,
    h % 9_973 = 0,
    clicked * (100_000 + k * 1_000)
FROM numbers({{first:UInt64}}, {{count:UInt64}})
"""
OUTCOMES = f"""
INSERT INTO outcome_rows (run, kind, event_time, campaign_id, impression_id, click_id, click_time, delay_ms, weight,
    price_micros, pctr, model_version, advertiser_id, creative_id, placement, country, device, experiment, arm,
    user_hash, join_partition)
WITH
    cityHash64(number) AS h,
    toUInt32(1000 * pow(intDiv(h, 31) % 1_000_000 / 1e6, 2)) AS k,
    number % 5 = 0 AS clicked,
    toDateTime64('{START}', 3, 'UTC') + toIntervalMillisecond(number * {DAYS * 86_400_000} / {{all:UInt64}}) AS at
SELECT
    '',
    multiIf(number % 997 = 0, 'orphan', number % 499 = 0, 'repeat', clicked, 'click', 'unclicked') AS kind,
    at,
    'c' || leftPad(toString(k), 4, '0') AS campaign,
    hex(h),
    if(kind = 'unclicked', '', reverse(hex(h))),
    if(kind = 'unclicked', toDateTime64(0, 3, 'UTC'), at + toIntervalMillisecond(h % 600_000)),
    if(kind = 'unclicked', NULL, toInt64(h % 600_000)),
    if(kind = 'unclicked', 20, 1),
    100_000 + k * 1_000,
    0.002 + (h % 1_000) / 50_000,
    'ftrl-' || toString(20 + intDiv(h, 23) % 3),
    'a' || leftPad(toString(intDiv(k, 4)), 3, '0'),
    {_CREATIVE_TO_ARM},
    intDiv(h, 29) % 1_000_000,
    number % 4
FROM numbers({{first:UInt64}}, {{count:UInt64}})
"""
# One day of 1,000 campaigns with a decision a minute; spend is a little above the plan.
PACING = f"""
INSERT INTO pacing_rows (run, campaign_id, minute, version, event_time, day_start, state, admit, budget_micros,
    spend_micros, plan_micros, impressions, clicks)
WITH
    cityHash64(number) AS h,
    intDiv(number, 1_000) AS m,
    toDateTime('{START}', 'UTC') + toUInt32(60 * m) AS minute
SELECT
    '',
    'c' || leftPad(toString(number % 1_000), 4, '0'),
    minute,
    1_790_000_000_000_000 + number,
    minute + 30,
    toDateTime('{START}', 'UTC'),
    ['on_plan', 'ahead', 'behind'][1 + h % 3],
    h % 1_000 / 1_000,
    1_440_000_000,
    m * 1_000_000 + h % 5_000_000,
    m * 1_000_000,
    m * 100,
    m
FROM numbers({{first:UInt64}}, {{count:UInt64}})
"""
CAMPAIGNS = f"""
INSERT INTO campaign_history_rows (run, campaign_id, number, in_force_from, version, advertiser_id, status, pacing,
    daily_budget_micros, currency, timezone)
SELECT
    '',
    'c' || leftPad(toString(number), 4, '0'),
    1,
    '{START}',
    1,
    'a' || leftPad(toString(intDiv(number, 4)), 3, '0'),
    'active',
    'even',
    1_440_000_000,
    'EUR',
    ['UTC', 'Europe/Berlin', 'Asia/Kolkata', 'America/New_York'][1 + number % 4]
FROM numbers({{first:UInt64}}, {{count:UInt64}})
"""
LEDGER = f"""
INSERT INTO ledger_rows (run, join_partition, version, impressions_consumed, impressions_accepted, closed, unclicked,
    clicks_consumed, clicks_accepted, billable, impressions_watermark, clicks_watermark)
SELECT '', number, 1, 1_000, 1_000, 1_000, 990, 10, 10, 10, at, at
FROM (
    SELECT number, toDateTime64('{START}', 3, 'UTC') + INTERVAL {DAYS} DAY AS at
    FROM numbers({{first:UInt64}}, {{count:UInt64}})
)
"""
