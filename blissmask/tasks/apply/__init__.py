"""`apply`: weighted masks times instance masks."""
