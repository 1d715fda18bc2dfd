"""What every task shares: plan, run, summary."""
