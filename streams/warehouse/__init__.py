"""ClickHouse for all rooms: connecting (`client`), typed rows (`rows`), inserting (`writer`), errors (`failures`)."""
