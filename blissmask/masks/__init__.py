"""Pure maths on mask weights: no files, no clocks, no configuration."""
