"""One use case per subcommand: plan, then run."""
