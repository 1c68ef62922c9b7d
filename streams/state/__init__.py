"""State that outlives a process: files on a disk, and snapshots shared between machines; `disk` is the front door."""
