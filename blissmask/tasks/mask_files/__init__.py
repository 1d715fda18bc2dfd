"""What the commands that write masks share."""
