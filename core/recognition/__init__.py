"""One photo and one model: encode, rank, write, explain."""
