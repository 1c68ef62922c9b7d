-- How well models predict before they learn, window by window, newest first.
-- param: since DateTime('UTC') '2000-01-01 00:00:00' -- start, UTC
-- param: until DateTime('UTC') '2100-01-01 00:00:00' -- end, exclusive, UTC
-- param: model String '' -- only this model; empty: all
-- param: slice String 'all' -- all, dimension=value, served or beside served; empty: every slice
-- param: rows UInt32 1000 -- most rows to return
-- chart: line x=window_start y=log_loss by=model,shard unit=nats -- log loss of each model's predictions, by window
SELECT
    window_start,
    window_end,
    model,
    shard,
    slice,
    version,
    examples,
    weight,
    clicks,
    round(predicted_clicks, 3) AS predicted_clicks,
    round(log_loss, 6) AS log_loss,
    round(auc, 4) AS auc,
    round(calibration, 4) AS calibration,
    round(ne, 4) AS ne,
    round(ece, 6) AS ece
FROM model_metrics
WHERE window_start >= {since:DateTime('UTC')} AND window_start < {until:DateTime('UTC')}
    AND ({model:String} = '' OR model = {model:String})
    AND ({slice:String} = '' OR slice = {slice:String})
ORDER BY window_start DESC, model, shard, slice
LIMIT {rows:UInt32}
