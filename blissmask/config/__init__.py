"""The one validated configuration: a field is a TOML key is a command-line flag."""
