"""The gate of campaign records: judges each record of `ads.campaigns` once; start reading in `judge`."""
