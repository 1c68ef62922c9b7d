"""Files of any usual format as batches of records: unpacked, decoded, bounded in memory. Begin with `kinds`."""
