"""From folders and configuration to items: names, masks, buckets, frames, captions."""
