"""Put bytes on disk whole or not at all, with one writer per folder."""
