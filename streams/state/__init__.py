"""State that outlives a process: files on a disk (`disk`), and snapshots shared between machines (`sharing`)."""
