"""Model families: each encodes pictures and captions and predicts, behind one protocol."""
