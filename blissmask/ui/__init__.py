"""What people see: Rich lives here and nowhere else."""
